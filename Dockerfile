# Every program of Millrace that runs in a container, one target each; scripts/images builds them all.
#
# deps      Debian's packages and the pinned librdkafka. Rebuilt only when one of them changes.
# build     the release, stripped, and for each program a folder with all that its image holds
# runtime   what all images share: certificates, users, shared libraries. No shell, no packages.
#
# No `# syntax=` line and no heredocs: the classic builder and an offline BuildKit build it as well.
# A later stage copies from an earlier one only what deploy/images/assemble put together.
ARG DEBIAN=debian:13-slim

FROM ${DEBIAN} AS deps
# Certificates to trust besides Debian's, PEM, for a network whose proxy has its own; the images do
# not get them. A mirror for Debian's and one for npm's packages. Docker itself passes *_proxy.
ARG EXTRA_CA=
ARG APT_MIRROR=
ARG NPM_CONFIG_REGISTRY=
ENV MILLRACE_HOME=/millrace
WORKDIR /source
COPY deploy/images/trust deploy/images/
RUN deploy/images/trust
COPY package.json package-lock.json ./
COPY scripts/lib scripts/lib
COPY scripts/librdkafka scripts/librdkafka
COPY scripts/deps scripts/
RUN scripts/deps build || { tail -n 50 /millrace/logs/*.log; exit 1; }

FROM deps AS build
COPY . .
RUN cmake --preset release -DMILLRACE_BENCH=OFF -DMILLRACE_WERROR=OFF >/dev/null && \
    ninja -C build/release ingest-api processor analytics query-api sink event-generator topics access-key
RUN deploy/images/assemble build/release/bin /image

FROM scratch AS runtime
ARG VERSION=0.1.0
COPY --from=build /image/common/ /
COPY --from=build --chown=65532:65532 /image/state/ /var/lib/millrace/
ENV MILLRACE_HTTP_HOST=0.0.0.0 MILLRACE_LOG_FORMAT=json
# The defaults of the options are relative to it: pipelines/…, schemas/….
WORKDIR /etc/millrace
USER 65532:65532
LABEL org.opencontainers.image.vendor="Millrace" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="scratch"

FROM runtime AS ingest-api
LABEL org.opencontainers.image.title="ingest-api" \
      org.opencontainers.image.description="Takes events over HTTP and answers once Kafka has acknowledged them"
COPY --from=build /image/ingest-api/ /
ENV MILLRACE_TOPICS_FILE=pipelines/topics.json MILLRACE_SCHEMAS_DIR=schemas
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/usr/bin/ingest-api", "--health"]
ENTRYPOINT ["/usr/bin/ingest-api"]

FROM runtime AS processor
LABEL org.opencontainers.image.title="processor" \
      org.opencontainers.image.description="Validates, enriches and routes events, record by record"
COPY --from=build /image/processor/ /
EXPOSE 8082
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/usr/bin/processor", "--health"]
ENTRYPOINT ["/usr/bin/processor"]

FROM runtime AS analytics
LABEL org.opencontainers.image.title="analytics" \
      org.opencontainers.image.description="Counts and sums events in event-time windows"
COPY --from=build /image/analytics/ /
EXPOSE 8083
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/usr/bin/analytics", "--health"]
ENTRYPOINT ["/usr/bin/analytics"]

FROM runtime AS query-api
LABEL org.opencontainers.image.title="query-api" \
      org.opencontainers.image.description="Latest values, live streams and the dashboard"
COPY --from=build /image/query-api/ /
EXPOSE 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/usr/bin/query-api", "--health"]
ENTRYPOINT ["/usr/bin/query-api"]

FROM runtime AS sink
LABEL org.opencontainers.image.title="sink" \
      org.opencontainers.image.description="Writes topics to files, each record once"
COPY --from=build /image/sink/ /
ENV MILLRACE_SINK_FILE=/var/lib/millrace/metrics.json
EXPOSE 8084
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["/usr/bin/sink", "--health"]
ENTRYPOINT ["/usr/bin/sink"]

FROM runtime AS event-generator
LABEL org.opencontainers.image.title="event-generator" \
      org.opencontainers.image.description="Realistic load at a set rate, with faults on demand"
COPY --from=build /image/event-generator/ /
ENTRYPOINT ["/usr/bin/event-generator"]

FROM runtime AS topics
LABEL org.opencontainers.image.title="topics" \
      org.opencontainers.image.description="Creates the topics of a deployment, then ends"
COPY --from=build /image/topics/ /
ENTRYPOINT ["/usr/bin/topics"]

FROM runtime AS access-key
LABEL org.opencontainers.image.title="access-key" \
      org.opencontainers.image.description="Makes an API key and its entry for the keys file, then ends"
COPY --from=build /image/access-key/ /
ENTRYPOINT ["/usr/bin/access-key"]
