/*
 * The client subcommands (trace, status, user, group, permission, …) over the HTTP API.
 */
#ifndef TMQ_CLI_CLI_H
#define TMQ_CLI_CLI_H

/* True when argv[1] names a subcommand of ours. */
int cli_knows(const char *word);

/* Runs it; returns the exit status: 0 done, 1 the answer is no or an error, 2 wrong usage. */
int cli_main(int argc, char **argv);

/* Prints the whole program's --help (with `serve`) to stdout. */
void cli_help(void);

#endif
