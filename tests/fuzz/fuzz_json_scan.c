/* Any bytes: json_scan and jansson must agree on whether they are JSON and on what they say. */
#include "fuzz.h"
#include "json_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct json_oracle oracle;
    bool agrees = json_oracle_agrees(&oracle, sv_of(data, bytes));
    FUZZ_CHECK(agrees, oracle.complaint);
    return 0;
}
