/* guest.h - whom a stream or a WebSocket is for, as long as it lasts.
 *
 * WHAT     its places among those of its address and of its principal (crowd.h), and the principal
 *          itself, with what became of it: a stream ends when it expires, and when a reload took away
 *          what the stream needs.
 * OWNS     a reference to the principal, and its places, from guest_enter to guest_leave.
 * THREADS  its worker's.
 */
#pragma once

#include "access/access.h"
#include "crowd.h"
#include "query_metrics.h"

struct guest {
    struct crowd_client *address, *own; /* its places */
    struct access_principal *principal; /* NULL: access is off */
    int64_t expires_us;                 /* monotonic; INT64_MAX: never */
};

struct guest_crowds {
    struct crowd *addresses, *principals; /* NULL: nobody is counted */
};

/* ERR_OVERLOADED: its address or its principal has as many as it may. Uses the principal's ticket up,
 * and only then the guest is let in: ERR_UNAUTHENTICATED, it has been used. On an error there is nothing
 * to leave. */
MUST_CHECK enum err guest_enter(const struct guest_crowds *crowds, struct access_view *view,
                                const char *address, struct access_principal *principal,
                                struct guest *ret, struct err_info *info);
void guest_leave(struct guest *guest); /* zeroed is a no-op */
/* After a change of who may what: false when the guest is nobody any more. */
MUST_CHECK bool guest_renew(struct guest *guest, struct access_view *view);
bool guest_may_read(const struct guest *guest, struct strview topic);
