/* One function per route (route.c): each reads the request and sets exactly one reply. HTTP threads. */
#ifndef TMQ_API_HANDLERS_H
#define TMQ_API_HANDLERS_H

struct request;

/* fleet.c */
void handle_healthz(struct request *rq);
void handle_readyz(struct request *rq);
void handle_regions(struct request *rq);
void handle_instances(struct request *rq);
void handle_instance(struct request *rq);
void handle_instance_patch(struct request *rq);
/* reload.c */
void handle_bridges(struct request *rq);
void handle_reload(struct request *rq);
/* metrics.c */
void handle_metrics(struct request *rq);
/* session.c */
void handle_login(struct request *rq);
void handle_logout(struct request *rq);
void handle_me(struct request *rq);
/* devices.c */
void handle_devices(struct request *rq);
void handle_device(struct request *rq);
void handle_kick(struct request *rq);
/* history.c */
void handle_trace(struct request *rq);
void handle_events(struct request *rq);
void handle_unidentified(struct request *rq);
/* stream.c */
void handle_stream(struct request *rq);
/* admin.c */
void handle_groups(struct request *rq);
void handle_group_add(struct request *rq);
void handle_group_delete(struct request *rq);
void handle_topics(struct request *rq);
void handle_topic_add(struct request *rq);
void handle_topic_delete(struct request *rq);
void handle_users(struct request *rq);
void handle_user_add(struct request *rq);
void handle_user_password(struct request *rq);
void handle_user_delete(struct request *rq);
void handle_permissions(struct request *rq);
void handle_permission_add(struct request *rq);
void handle_permissions_set(struct request *rq);
void handle_permission_delete(struct request *rq);
/* console.c: whatever no route claims */
void handle_console(struct request *rq);

#endif
