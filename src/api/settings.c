/* Instance settings; see settings.h. The words stand in the order of auth's enums. */
#include "api/settings.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "api/request.h"

static const char *const client_id_words[] = {
    [CLIENT_ID_ANY] = "any", [CLIENT_ID_GROUPED] = "grouped", NULL};
static const char *const topics_words[] = {
    [TOPICS_OPEN] = "open", [TOPICS_DECLARED] = "declared", NULL};
static const char *const on_denied_words[] = {
    [ON_DENIED_CLOSE] = "close", [ON_DENIED_REFUSE] = "refuse", NULL};
static const char *const subscriptions_words[] = {
    [SUBSCRIPTIONS_COVERED] = "covered", [SUBSCRIPTIONS_FILTERED] = "filtered", NULL};

static const char *const unknown_users_words[] = {
    [UNKNOWN_USERS_REFUSED] = "refused", [UNKNOWN_USERS_ANONYMOUS] = "anonymous", NULL};

static const struct setting {
    const char *name;
    const char *const *words; /* NULL: true or false */
} settings_table[] = {
    {"client_id", client_id_words}, {"topics", topics_words},
    {"on_denied", on_denied_words}, {"subscriptions", subscriptions_words},
    {"allow_anonymous", NULL},      {"unknown_users", unknown_users_words},
};

json_t *settings_json(const struct auth_instance_info *i)
{
    json_t *o = json_object();
    json_object_set_new(o, "client_id", json_string(client_id_words[i->client_id]));
    json_object_set_new(o, "topics", json_string(topics_words[i->topics]));
    json_object_set_new(o, "on_denied", json_string(on_denied_words[i->on_denied]));
    json_object_set_new(o, "subscriptions", json_string(subscriptions_words[i->subscriptions]));
    json_object_set_new(o, "allow_anonymous", json_boolean(i->allow_anonymous));
    json_object_set_new(o, "unknown_users", json_string(unknown_users_words[i->unknown_users]));
    return o;
}

static const struct setting *find_setting(const char *name)
{
    for (size_t i = 0; i < sizeof settings_table / sizeof settings_table[0]; i++) {
        if (strcmp(settings_table[i].name, name) == 0) {
            return &settings_table[i];
        }
    }
    return NULL;
}

/* The word that auth takes for the value, NULL when it is none of the setting's. */
static const char *value_word(const struct setting *s, const json_t *value)
{
    if (s->words == NULL) {
        return json_is_true(value) ? "true" : json_is_false(value) ? "false" : NULL;
    }
    for (size_t i = 0; s->words[i] != NULL && json_is_string(value); i++) {
        if (strcmp(s->words[i], json_string_value(value)) == 0) {
            return s->words[i];
        }
    }
    return NULL;
}

static void check_one(const char *name, const json_t *value, struct problem *p)
{
    const struct setting *s = find_setting(name);
    char field[64];
    (void)snprintf(field, sizeof field, "settings.%.50s", name);
    if (s == NULL) {
        problem_set(p, 400, field, "there is no setting %.50s", name);
    } else if (value_word(s, value) == NULL) {
        const char *a = s->words == NULL ? "true" : s->words[0];
        const char *b = s->words == NULL ? "false" : s->words[1];
        const char *is = json_is_string(value) ? json_string_value(value) : json_type_text(value);
        problem_set(p, 400, field, "%s is %.50s, expected %s or %s", name, is, a, b);
    }
}

void settings_check(json_t *settings, struct problem *p)
{
    const char *name;
    json_t *value;
    if (!json_is_object(settings)) {
        problem_set(p, 400, "settings", "settings is %s, expected an object",
                    settings == NULL ? "missing" : json_type_text(settings));
        return;
    }
    json_object_foreach(settings, name, value)
    {
        check_one(name, value, p);
    }
}

int settings_apply(struct auth *a, struct slice instance, json_t *settings, struct auth_error *e)
{
    const char *name;
    json_t *value;
    json_object_foreach(settings, name, value)
    {
        const struct setting *s = find_setting(name);
        assert(s != NULL); /* checked before */
        int failed =
            auth_instance_set(a, instance, slice_str(name), slice_str(value_word(s, value)), e);
        if (failed != 0) {
            return failed;
        }
    }
    return 0;
}
