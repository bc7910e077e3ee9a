/* How much memory the trace may take when nobody says: a share of the machine's or of the control group's. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/config.h"

enum { SHARE_PERCENT = 5 };
static const uint64_t share_min = 16 * 1024 * 1024, share_max = 512 * 1024 * 1024;

/* The number in a file, or UINT64_MAX ("max", no such file). */
static uint64_t read_limit(const char *path)
{
    char text[64] = "";
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return UINT64_MAX;
    }
    char *line = fgets(text, sizeof text, f);
    (void)fclose(f);
    if (line == NULL || text[0] < '0' || text[0] > '9') {
        return UINT64_MAX;
    }
    return strtoull(text, NULL, 10);
}

/* The smallest limit of our control group (version 2) and those above it. */
static uint64_t group_limit(void)
{
    static const char root[] = "/sys/fs/cgroup";
    char group[512] = "", path[640];
    uint64_t smallest = read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"); /* version 1 */
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f != NULL && fgets(group, sizeof group, f) != NULL && strncmp(group, "0::", 3) != 0) {
        group[0] = '\0';
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    if (strncmp(group, "0::", 3) != 0) {
        return smallest;
    }
    group[strcspn(group, "\n")] = '\0';
    char *end = group + strlen(group);
    while (end != NULL) {
        *end = '\0';
        (void)snprintf(path, sizeof path, "%s%s/memory.max", root, group + 3);
        uint64_t limit = read_limit(path);
        smallest = limit < smallest ? limit : smallest;
        end = strrchr(group + 3, '/');
    }
    return smallest;
}

uint64_t config_trace_memory(const struct config *c)
{
    if (c->trace_memory != 0) {
        return c->trace_memory;
    }
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t ram = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    uint64_t limit = group_limit();
    uint64_t share = (limit < ram ? limit : ram) / 100 * SHARE_PERCENT;
    return share < share_min ? share_min : share > share_max ? share_max : share;
}
