/* ws_talk.h - what a client says on a WebSocket (subprotocol millrace.v1), and short answers to it.
 *
 * TEXT     one JSON object a message:
 *              {"action":"subscribe","subscription":"a","topics":["orders"],…}
 *              {"action":"resume","subscription":"a","topics":["orders"],"last_event_id":"orders~0=7"}
 *              {"action":"ack","subscription":"a","records":10}
 *              {"action":"commit","subscription":"a","cursor":"orders~0=7"}
 *              {"action":"unsubscribe","subscription":"a"}
 *          The other members of the first two are the parameters of GET /events, by their names: from,
 *          since, rewind, snapshot, last_event_id, key, filter, slow, consumer, commit; and
 *          unacked_max. A resume is a subscribe that must say where.
 * ERRORS   ERR_JSON_*, ERR_REQUEST_PARAM and what events_request_read has; info says what and where.
 */
#pragma once

#include <jansson.h>

#include "events_request.h"

#define WS_PROTOCOL       "millrace.v1"
#define WS_NAME_BYTES_MAX 64 /* of a subscription's name, which the client chooses */
#define WS_UNACKED_MAX    1000000

enum ws_action { WS_SUBSCRIBE, WS_RESUME, WS_ACK, WS_COMMIT, WS_UNSUBSCRIBE };

struct ws_ask {
    enum ws_action action;
    char name[WS_NAME_BYTES_MAX + 1]; /* "": none could be read */
    int64_t records;                  /* of an ack: how many more were taken */
    int64_t unacked_max;              /* of a subscription; 0: it sends without acks */
    const char *cursor;               /* of a commit; the tree's */
    json_t *tree;
};

void ws_ask_deinit(struct ws_ask *ask); /* a zeroed one is a no-op */
/* On an error, too, the caller deinits it; its name may be known. */
MUST_CHECK enum err ws_ask_read(struct strview text, struct ws_ask *ret, struct err_info *info);
/* What a subscribe or a resume asks for. */
MUST_CHECK enum err ws_ask_events(const struct ws_ask *ask, const struct query *query,
                                  const struct access_principal *principal,
                                  struct events_request *ret, struct err_info *info);

/* {"subscription":…,"event":…} as a message; name "": of none. */
void ws_append_event(struct buf *out, const char *name, const char *event);
/* …"event":"error" with the problem. */
void ws_append_error(struct buf *out, const char *name, enum err err, const struct err_info *info);
