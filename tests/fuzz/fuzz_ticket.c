/* Tickets from a stranger: as they come, and behind a MAC that is right, so that the form is reached. A good
 * one says what it was made with. */
#include "access/openssl.h"
#include "access/tickets.h"
#include "core/base64.h"
#include "fuzz.h"

#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define NOW_MS 1795244979001

static struct tickets *tickets_get(void)
{
    static struct tickets_config config = {.life_ms = 30000, .used_max = 64};
    static struct tickets *tickets;
    static char path[] = "/tmp/millrace-fuzz-XXXXXX";
    if (!tickets) {
        const int fd = mkstemp(path);
        FUZZ_CHECK(fd >= 0 && write(fd, SECRET, 32) == 32, "no file");
        (void)close(fd);
        config.secret_file = path;
        FUZZ_CHECK(tickets_new(&config, &tickets, NULL) == ERR_OK, "not started");
        (void)unlink(path);
    }
    return tickets;
}

static void check(struct strview text)
{
    static char scratch[TICKET_BYTES_MAX];
    struct ticket ticket;
    if (tickets_read(tickets_get(), text, NOW_MS, scratch, &ticket)) {
        return;
    }
    FUZZ_CHECK(ticket.kind < ACCESS_TICKET, "given to nobody there is");
    FUZZ_CHECK(ticket.expires_ms > NOW_MS && ticket.expires_ms <= NOW_MS + 60000, "good for ever");
    FUZZ_CHECK(ticket.id.ptr >= scratch && ticket.topics.ptr == ticket.id.ptr + ticket.id.len &&
                   ticket.topics.ptr + ticket.topics.len <= scratch + TICKET_BYTES_MAX,
               "texts from elsewhere");
}

static void check_signed(const uint8_t *data, size_t bytes)
{
    unsigned char whole[TICKET_BYTES_MAX];
    char text[TICKET_TEXT_BYTES] = "mt_";
    size_t mac_bytes = 0;
    if (bytes > TICKET_BYTES_MAX - TICKET_MAC_BYTES) {
        return;
    }
    if (bytes) {
        memcpy(whole, data, bytes);
    }
    FUZZ_CHECK(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, SECRET, 32, whole, bytes,
                         whole + bytes, TICKET_MAC_BYTES, &mac_bytes),
               "no MAC");
    const size_t len = base64_encode(BASE64_URL, whole, bytes + mac_bytes, text + 3);
    check(sv_of(text, len + 3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    check(sv_of(data, bytes));
    check_signed(data, bytes);
    return 0;
}
