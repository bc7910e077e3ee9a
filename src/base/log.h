/*
 * logfmt on stderr: `ts=… level=info msg="…" key=value`. Who decides, logs, once; folders below
 * server/ return errors instead. Any thread; one write(2) a line.
 */
#ifndef TMQ_BASE_LOG_H
#define TMQ_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines below `level` are dropped (default LOG_INFO). */
void log_set_level(enum log_level level);

/* `msg` is a constant sentence; `fmt` gives the ` key=value` pairs and may be "". Values with spaces
 * are to be written as key=\"%s\": quotes and backslashes in them are escaped, control characters shown as '?'. Conversions:
 * %s %.*s %d %u and their long forms. */
void log_line(enum log_level level, const char *msg, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(msg, ...) log_line(LOG_DEBUG, msg, __VA_ARGS__)
#define log_info(msg, ...) log_line(LOG_INFO, msg, __VA_ARGS__)
#define log_warn(msg, ...) log_line(LOG_WARN, msg, __VA_ARGS__)
#define log_error(msg, ...) log_line(LOG_ERROR, msg, __VA_ARGS__)

#endif
