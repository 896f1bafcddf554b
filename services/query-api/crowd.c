#include "crowd.h"

#include <pthread.h>
#include <stdlib.h>

#include "core/hash_map.h"

#define CLIENTS_MAX (1u << 30) /* more than there are streams */

struct crowd {
    pthread_mutex_t lock; /* guards all of it */
    int64_t streams_max;
    struct hash_map *clients; /* name → struct crowd_client * */
};

struct crowd_client {
    struct crowd *crowd;
    int64_t streams;
    char *name;
};

void crowd_free(struct crowd *crowd)
{
    if (crowd) {
        CHECK(hash_map_count(crowd->clients) == 0);
        hash_map_free(crowd->clients);
        CHECK(pthread_mutex_destroy(&crowd->lock) == 0);
        free(crowd);
    }
}

struct crowd *crowd_new(int64_t streams_max)
{
    if (streams_max == 0) {
        return NULL;
    }
    struct crowd *crowd = must_alloc(sizeof *crowd);
    crowd->streams_max = streams_max;
    crowd->clients = hash_map_new(sizeof(struct crowd_client *), CLIENTS_MAX);
    CHECK(pthread_mutex_init(&crowd->lock, NULL) == 0);
    return crowd;
}

bool crowd_enter(struct crowd *crowd, const char *name, struct crowd_client **ret)
{
    *ret = NULL;
    if (!crowd) {
        return true;
    }
    bool is_new;
    (void)pthread_mutex_lock(&crowd->lock);
    struct crowd_client **slot = hash_map_get_or_add(crowd->clients, sv(name), &is_new);
    CHECK(slot);
    if (is_new) {
        *slot = must_alloc(sizeof **slot);
        **slot = (struct crowd_client){.crowd = crowd, .name = must_strdup(name)};
    }
    bool is_let_in = (*slot)->streams < crowd->streams_max; /* a new one is */
    if (is_let_in) {
        (*slot)->streams++;
        *ret = *slot;
    }
    (void)pthread_mutex_unlock(&crowd->lock);
    return is_let_in;
}

void crowd_leave(struct crowd_client *client)
{
    if (!client) {
        return;
    }
    struct crowd *crowd = client->crowd;
    (void)pthread_mutex_lock(&crowd->lock);
    if (--client->streams == 0) {
        CHECK(hash_map_remove(crowd->clients, sv(client->name)));
        free(client->name);
        free(client);
    }
    (void)pthread_mutex_unlock(&crowd->lock);
}
