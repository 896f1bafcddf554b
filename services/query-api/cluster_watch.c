#include <pthread.h>
#include <stdlib.h>

#include "cluster.h"
#include "core/clock.h"

#define REST 5 /* times that making a picture took, until the next one */

struct cluster_watch {
    const struct cluster_config *config;
    rd_kafka_t *client;
    pthread_mutex_t lock;  /* guards what follows; held while a picture is made, or read */
    struct cluster *kept;  /* the last picture; NULL: there has been none */
    int64_t next_us;       /* when one may be made again */
    struct err_info stale; /* why the last try failed; text "": it did not */
};

static enum err client_new(const struct kafka_config *config, rd_kafka_t **ret,
                           struct err_info *info)
{
    rd_kafka_conf_t *conf;
    enum err e = kafka_conf_new(config, KAFKA_ROLE_ADMIN, &conf, info);
    if (e) {
        return e;
    }
    char why[256];
    *ret = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!*ret) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka client: %s", why);
    }
    return ERR_OK;
}

enum err cluster_watch_new(const struct cluster_config *config, const struct kafka_config *kafka,
                           struct cluster_watch **ret, struct err_info *info)
{
    struct cluster_watch *watch = must_alloc(sizeof *watch);
    watch->config = config;
    CHECK(pthread_mutex_init(&watch->lock, NULL) == 0);
    enum err e = client_new(kafka, &watch->client, info);
    if (e) {
        cluster_watch_free(watch);
        return e;
    }
    *ret = watch;
    return ERR_OK;
}

void cluster_watch_free(struct cluster_watch *watch)
{
    if (!watch) {
        return;
    }
    if (watch->client) {
        rd_kafka_destroy(watch->client);
    }
    cluster_free(watch->kept);
    CHECK(pthread_mutex_destroy(&watch->lock) == 0);
    free(watch);
}

/* With the lock. */
static enum err picture_make(struct cluster_watch *watch, int64_t timeout_ms, struct err_info *info)
{
    const int64_t begin_us = clock_mono_us();
    struct cluster *made = NULL;
    enum err e = cluster_ask(watch->client, watch->config, watch->kept, timeout_ms, &made, info);
    const int64_t end_us = clock_mono_us(), rest_us = (end_us - begin_us) * REST;
    const int64_t fresh_us = watch->config->fresh_ms * 1000;
    watch->next_us = end_us + (rest_us > fresh_us ? rest_us : fresh_us);
    watch->stale = (struct err_info){0};
    if (e) {
        watch->stale = *info;
        return e;
    }
    cluster_free(watch->kept);
    watch->kept = made;
    return ERR_OK;
}

enum err cluster_watch_read(struct cluster_watch *watch, int64_t timeout_ms,
                            void (*read)(void *context, const struct cluster *cluster,
                                         const char *stale),
                            void *context, struct err_info *info)
{
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&watch->lock);
    if (!watch->kept || clock_mono_us() >= watch->next_us) {
        e = picture_make(watch, timeout_ms, info);
    }
    if (watch->kept) {
        e = ERR_OK;
        read(context, watch->kept, watch->stale.text[0] ? watch->stale.text : NULL);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return e;
}
