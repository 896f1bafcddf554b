/* GET /schemas, /schemas/{subject}, /schemas/{subject}/versions/{version}. */
#include <inttypes.h>
#include <stdlib.h>

#include "query_access.h"
#include "query_values.h"
#include "registry/registry_get.h"
#include "schemas.h"

#define LIMIT_DEFAULT  50
#define LIMIT_MAX      100 /* each row is a question */
#define BODY_BYTES_MAX ((size_t)64 << 20)

struct schemas_job;

/* One of the three questions; *ret is the answer's body. */
typedef enum err schemas_question(struct schemas_job *asked, json_t **ret, struct err_info *info);

struct schemas_job {
    struct desk_job job;
    schemas_question *question;
    const struct query *query;
    struct access_principal *principal; /* a reference; NULL: access is off */
    char *subject;                      /* NULL: all are asked for */
    char *version;                      /* digits, or "latest" */
    char *cursor;
    int64_t limit;
    struct buf body;
};

/* --- on the desk ------------------------------------------------------------------------------------------ */

/* ERR_NOT_FOUND is told as such; whatever else is wrong is the registry's failure. */
static enum err get(struct schemas_job *asked, const char *path, json_t **ret,
                    struct err_info *info)
{
    const struct registry_config *config = &asked->query->registry_config;
    const struct registry_call call = {
        .config = config,
        .timeout_ms = desk_job_left_ms(&asked->job, config->timeout_ms),
        .is_stopping = desk_job_draining(&asked->job),
    };
    const enum err e =
        desk_job_is_over(&asked->job)
            ? err_set(info, ERR_REGISTRY_UNAVAILABLE, "the registry has not said all of it in time")
            : registry_get(&call, path, ret, info);
    if (e && atomic_load(call.is_stopping)) {
        return err_set(info, ERR_DRAINING, "the registry has not answered before the end");
    }
    return e && e != ERR_NOT_FOUND ? ERR_REGISTRY_UNAVAILABLE : e;
}

/* {before}{subject}{after} */
static enum err subject_get(struct schemas_job *asked, const char *before, const char *subject,
                            const char *after, json_t **ret, struct err_info *info)
{
    CLEANUP(buf_free) struct buf path;
    buf_init(&path, REGISTRY_PATH_BYTES_MAX);
    enum err e = buf_printf(&path, "%s", before);
    e = e ? e : registry_path_append(&path, sv(subject));
    e = e ? e : buf_append(&path, after, strlen(after) + 1);
    return e ? err_set(info, ERR_NOT_FOUND, "the name of the subject is too long")
             : get(asked, path.data, ret, info);
}

static enum err nonsense(const char *subject, struct err_info *info)
{
    return err_set(info, ERR_REGISTRY_UNAVAILABLE,
                   "what the registry says of %.128s has not the form of Confluent's API", subject);
}

static enum err version_get(struct schemas_job *asked, const char *subject, const char *version,
                            bool is_whole, json_t **ret, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    char after[64];
    (void)snprintf(after, sizeof after, "/versions/%s", version);
    enum err e = subject_get(asked, "/subjects/", subject, after, &answer, info);
    if (e) {
        return e;
    }
    *ret = schemas_version(answer, subject, is_whole);
    return *ret ? ERR_OK : nonsense(subject, info);
}

static bool may_see(const void *context, struct strview guard)
{
    const struct schemas_job *asked = context;
    return access_allows(asked->principal, ACCESS_READ, guard);
}

static enum err names_get(struct schemas_job *asked, json_t **ret, bool *ret_has_more,
                          struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *names = NULL;
    const struct schemas_page page = {may_see, asked, asked->cursor, (size_t)asked->limit};
    enum err e = get(asked, "/subjects", &names, info);
    if (e) {
        return e == ERR_NOT_FOUND ? ERR_REGISTRY_UNAVAILABLE : e; /* no registry is without */
    }
    *ret = schemas_page(names, &page, ret_has_more);
    return *ret ? ERR_OK : nonsense("its subjects", info);
}

/* What was deleted since its name was told is left out. */
static enum err rows_get(struct schemas_job *asked, const json_t *names, json_t *rows,
                         struct err_info *info)
{
    size_t index;
    const json_t *name;
    json_array_foreach(names, index, name)
    {
        json_t *row = NULL;
        const enum err e = version_get(asked, json_string_value(name), "latest", false, &row, info);
        if (e && e != ERR_NOT_FOUND) {
            return e;
        }
        if (row) {
            (void)json_array_append_new(rows, row);
        }
    }
    return ERR_OK;
}

static enum err list_ask(struct schemas_job *asked, json_t **ret, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *names = NULL;
    CLEANUP(json_decrefp) json_t *rows = json_array();
    bool has_more = false;
    enum err e = names_get(asked, &names, &has_more, info);
    e = e ? e : rows_get(asked, names, rows, info);
    if (e) {
        return e;
    }
    json_t *last = has_more ? json_array_get(names, json_array_size(names) - 1) : NULL;
    *ret = json_pack("{s:O, s:O?}", "items", rows, "next_cursor", last);
    return ERR_OK;
}

static enum err unknown(enum err e, const char *what, struct err_info *info)
{
    return e == ERR_NOT_FOUND
               ? err_set(info, ERR_SUBJECT_UNKNOWN, "the registry has no %.300s", what)
               : e;
}

/* A level of its own, or else the registry's; null: it does not say. */
static enum err compatibility_get(struct schemas_job *asked, json_t **ret, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    enum err e =
        subject_get(asked, "/config/", asked->subject, "?defaultToGlobal=true", &answer, info);
    json_t *level = json_object_get(answer, "compatibilityLevel");
    if (e && e != ERR_NOT_FOUND) {
        return e;
    }
    *ret = json_is_string(level) ? json_incref(level) : json_null();
    return ERR_OK;
}

static enum err subject_ask(struct schemas_job *asked, json_t **ret, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    CLEANUP(json_decrefp) json_t *shown = NULL;
    json_t *level = NULL;
    enum err e = subject_get(asked, "/subjects/", asked->subject, "/versions", &answer, info);
    e = e ? e : version_get(asked, asked->subject, "latest", true, &shown, info);
    if (e) {
        return unknown(e, asked->subject, info);
    }
    json_t *versions = schemas_versions(answer);
    if (!versions) {
        return nonsense(asked->subject, info);
    }
    (void)json_object_set_new(shown, "versions", versions);
    e = compatibility_get(asked, &level, info);
    if (e) {
        return e;
    }
    (void)json_object_set_new(shown, "compatibility", level);
    *ret = TAKE(shown);
    return ERR_OK;
}

static enum err version_ask(struct schemas_job *asked, json_t **ret, struct err_info *info)
{
    char what[320];
    (void)snprintf(what, sizeof what, "version %s of %s", asked->version, asked->subject);
    return unknown(version_get(asked, asked->subject, asked->version, true, ret, info), what, info);
}

static int buf_take(const char *bytes, size_t len, void *context)
{
    return buf_append(context, bytes, len) == ERR_OK ? 0 : -1;
}

static enum err schemas_run(struct desk_job *job, struct err_info *info)
{
    struct schemas_job *asked = (struct schemas_job *)job;
    CLEANUP(json_decrefp) json_t *shown = NULL;
    enum err e = asked->question(asked, &shown, info);
    if (!e && json_dump_callback(shown, buf_take, &asked->body, JSON_COMPACT)) {
        e = err_set(info, ERR_LIMIT, "the answer has more than %zu bytes", BODY_BYTES_MAX);
    }
    return e;
}

static void schemas_reply(struct desk_job *job, struct http_request *request)
{
    struct schemas_job *asked = (struct schemas_job *)job;
    http_reply_header(request, "Cache-Control", "no-cache");
    http_reply_buf(request, 200, "application/json", &asked->body);
}

static void schemas_job_free(struct desk_job *job)
{
    struct schemas_job *asked = (struct schemas_job *)job;
    buf_free(&asked->body);
    access_principal_unref(asked->principal);
    free(asked->subject);
    free(asked->version);
    free(asked->cursor);
    free(asked);
}

static const struct desk_work schemas_work = {
    .run = schemas_run,
    .reply = schemas_reply,
    .free = schemas_job_free,
    .late = "the schema registry has not answered in time",
};

/* --- on the loop ------------------------------------------------------------------------------------------ */

/* Who may see nothing of it hears that, whatever the registry has, and whether or not there is one. */
static enum err admit(struct http_request *request, const char *subject,
                      struct access_principal **ret, struct err_info *info)
{
    struct shard *shard = http_worker_state(http_request_worker(request));
    enum err e = query_identify(request, SERVICE_ACCESS_FULL, ret, info);
    e = e         ? e
        : subject ? service_access_permit(request, *ret, ACCESS_READ, schemas_guard(subject), info)
                  : query_permit_reader(request, *ret, info);
    if (e) {
        return e;
    }
    access_spend(shard->access, *ret, 1, 0);
    return shard->registry_desk
               ? ERR_OK
               : err_set(info, ERR_NOT_FOUND,
                         "there is no schema registry to be asked (schema.registry.url)");
}

static enum err parameters_read(const struct http_request *request, struct schemas_job *asked,
                                struct err_info *info)
{
    const char *limit = http_request_query(request, "limit");
    const char *cursor = http_request_query(request, "cursor");
    const char *version = http_request_param(request, "version");
    int64_t number;
    asked->limit = LIMIT_DEFAULT;
    asked->cursor = must_strdup(cursor ? cursor : "");
    asked->version = must_strdup(version ? version : "latest");
    if (limit && (!query_value_number(limit, LIMIT_MAX, &asked->limit) || asked->limit == 0)) {
        return err_set(info, ERR_REQUEST_PARAM, "limit=%.32s is no number from 1 to %d", limit,
                       LIMIT_MAX);
    }
    if (strcmp(asked->version, "latest") != 0 &&
        (!query_value_number(asked->version, INT32_MAX, &number) || asked->version[0] == '0')) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "\"%.32s\" is neither a version's number nor \"latest\"", version);
    }
    return ERR_OK;
}

static void ask(struct http_request *request, schemas_question *question)
{
    struct query *query = http_request_context(request);
    const struct shard *shard = http_worker_state(http_request_worker(request));
    const char *subject = http_request_param(request, "subject");
    struct access_principal *principal = NULL;
    struct err_info info = {0};
    enum err e = admit(request, subject, &principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
        return;
    }
    struct schemas_job *asked = must_alloc(sizeof *asked);
    *asked = (struct schemas_job){.job.work = &schemas_work,
                                  .question = question,
                                  .query = query,
                                  .principal = access_principal_ref(principal),
                                  .subject = subject ? must_strdup(subject) : NULL};
    buf_init(&asked->body, BODY_BYTES_MAX);
    e = parameters_read(request, asked, &info);
    if (e) {
        schemas_job_free(&asked->job);
        http_reply_err(request, e, &info);
        return;
    }
    desk_ask(shard->registry_desk, request, &asked->job, query_desk_timeout_ms(query));
}

void query_handle_get_schemas(struct http_request *request)
{
    ask(request, list_ask);
}

void query_handle_get_schema(struct http_request *request)
{
    ask(request, subject_ask);
}

void query_handle_get_schema_version(struct http_request *request)
{
    ask(request, version_ask);
}
