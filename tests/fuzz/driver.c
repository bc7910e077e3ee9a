/* Runs a libFuzzer target over files without libFuzzer: every argument is a file, or a directory whose
 * files are run in the order of their names. Crashes and assertions end the program; so does an argument
 * that cannot be read, or a run without a single input (a corpus that went missing is no success). */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t inputs_run;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "fuzz driver: %s: %s: %s\n", path, what, strerror(errno));
    exit(2);
}

static void run_file(const char *path, size_t size)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        die("open", path);
    }
    /* Exactly as large as the input, so that a sanitizer sees the first byte read beyond it. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, in) != size) {
        die("read", path);
    }
    fclose(in);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs_run++;
}

static void run_path(const char *path);

static void run_directory(const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        die("list", path);
    }
    for (int i = 0; i < count; i++) {
        char child[4096];
        if (entries[i]->d_name[0] != '.') {
            int length = snprintf(child, sizeof(child), "%s/%s", path, entries[i]->d_name);
            if (length < 0 || (size_t)length >= sizeof(child)) {
                errno = ENAMETOOLONG;
                die("name", path);
            }
            run_path(child);
        }
        free(entries[i]);
    }
    free(entries);
}

static void run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        die("stat", path);
    }
    if (S_ISDIR(st.st_mode)) {
        run_directory(path);
    } else {
        run_file(path, (size_t)st.st_size);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        run_path(argv[i]);
    }
    if (inputs_run == 0) {
        fprintf(stderr, "usage: %s FILE|DIRECTORY...   (no input found)\n", argv[0]);
        return 2;
    }
    printf("%zu inputs\n", inputs_run);
    return 0;
}
