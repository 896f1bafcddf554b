/* The dashboard: files that the build put into the binary (program.cmake). */
#include <string.h>

#include "query.h"

extern const struct embedded_file dashboard_files[];
extern const size_t dashboard_files_count;

static void reply_page(struct http_request *request, const char *name)
{
    for (size_t i = 0; i < dashboard_files_count; i++) {
        if (strcmp(dashboard_files[i].name, name) == 0) {
            http_reply_file(request, &dashboard_files[i]); /* with a strict CSP */
            return;
        }
    }
    http_reply_err(request, ERR_NOT_FOUND, NULL);
}

void query_handle_get_dashboard(struct http_request *request)
{
    reply_page(request, "index.html");
}

void query_handle_get_job_view(struct http_request *request)
{
    reply_page(request, "jobs.html");
}

void query_handle_get_group_view(struct http_request *request)
{
    reply_page(request, "groups.html");
}

void query_handle_get_letter_view(struct http_request *request)
{
    reply_page(request, "letters.html");
}

void query_handle_get_tail_view(struct http_request *request)
{
    reply_page(request, "tail.html");
}

void query_handle_get_asset(struct http_request *request)
{
    reply_page(request, http_request_param(request, "file"));
}
