/* ingest_stream.h - a body of lines read while it arrives, in memory that does not grow with it.
 *
 * WHAT     whole lines of a piece are taken where they lie; the part of a line at its end is kept for
 *          the next piece. Results are answered at the end.
 * BOUNDS   http.streamed.*, events.streamed.max lines; a line as long as a whole body may be
 *          (http.body.bytes.max) or it fails by itself; with OUTSTANDING_MAX records on their way the
 *          body is paused, so that TCP slows the client down. 24 bytes an event for its result.
 * ERRORS   a body that breaks off: the answer is its problem, with how many events were taken and
 *          stored before.
 * THREADS  the worker's.
 */
#pragma once

#include "ingest_reading.h"

/* A route's open: takes the body in pieces if it is of lines, else leaves it to be collected. */
void ingest_stream_open(struct http_request *request, const struct ingest_route *route);
