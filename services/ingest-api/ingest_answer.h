/* ingest_answer.h - from results to the one answer of a request (interfaces: status and body). */
#pragma once

#include "ingest_pending.h"

/* Every result is final: replies to pending->request, counts, and gives pending back. */
void ingest_answer(struct ingest_pending *pending);
