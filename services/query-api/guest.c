#include "guest.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/clock.h"

/* A wall clock's time as the monotonic one has it from now on: who sets the clock ends no stream. */
static int64_t expires_us(const struct access_principal *principal)
{
    return principal && principal->expires_ms
               ? clock_mono_us() + 1000 * (principal->expires_ms - clock_now_ms())
               : INT64_MAX;
}

static bool own_place(const struct guest_crowds *crowds, const struct access_principal *principal,
                      struct crowd_client **ret)
{
    char name[32];
    *ret = NULL;
    if (!principal) {
        return true;
    }
    (void)snprintf(name, sizeof name, "%016" PRIx64, principal->rate_id); /* fits */
    return crowd_enter(crowds->principals, name, ret);
}

enum err guest_enter(const struct guest_crowds *crowds, struct access_view *view,
                     const char *address, struct access_principal *principal, struct guest *ret,
                     struct err_info *info)
{
    struct guest guest = {.expires_us = expires_us(principal)};
    enum err e =
        crowd_enter(crowds->addresses, address, &guest.address) &&
                own_place(crowds, principal, &guest.own)
            ? ERR_OK
            : err_set(info, ERR_OVERLOADED, "this client has as many streams as it may have");
    e = e ? e : access_ticket_use(view, principal, info);
    if (e) {
        guest_leave(&guest);
        return e;
    }
    guest.principal = access_principal_ref(principal);
    access_spend(view, principal, 1, 0);
    *ret = guest;
    return ERR_OK;
}

void guest_leave(struct guest *guest)
{
    crowd_leave(guest->address);
    crowd_leave(guest->own);
    access_principal_unref(guest->principal);
    *guest = (struct guest){0};
}

bool guest_renew(struct guest *guest, struct access_view *view)
{
    if (!guest->principal) {
        return true;
    }
    struct access_principal *now = access_renew(view, guest->principal);
    if (!now) {
        return false;
    }
    access_principal_unref(guest->principal);
    guest->principal = now;
    guest->expires_us = expires_us(now);
    return true;
}

bool guest_may_read(const struct guest *guest, struct strview topic)
{
    return access_allows(guest->principal, ACCESS_READ, topic);
}
