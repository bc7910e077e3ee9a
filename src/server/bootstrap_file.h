/* DATA/bootstrap.json: the first credentials and the addresses, for the operator and the command line client. */
#ifndef TMQ_SERVER_BOOTSTRAP_FILE_H
#define TMQ_SERVER_BOOTSTRAP_FILE_H

struct auth_bootstrap;

struct bootstrap_file {
    const struct auth_bootstrap *values;
    const char *url;  /* of the API; NULL = not served */
    const char *mqtt; /* host:port; NULL = not served */
};

/*
 * Writes it so that a reader finds the old file or the new one, never a part (temporary file, fsync, rename), mode
 * 0600. 0, 1 when there was none before, or a negative errno.
 */
int bootstrap_file_write(const char *data_dir, const struct bootstrap_file *f)
    __attribute__((warn_unused_result));

#endif
