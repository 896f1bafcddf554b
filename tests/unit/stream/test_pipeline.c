/* Pipeline files: what is taken, and what is said about what is not. pipelines/pipeline.schema.json
 * is held against the same table: an editor and the loader must agree on a file's shape. */
#include "schema/schema.h"
#include "stream_fixture.h"

#define SOURCE        "\"source\":{\"topic\":\"in\"}"
#define OUTPUT        "\"output\":{\"topic\":\"out\"}"
#define WITH(members) "{\"name\":\"p\"," SOURCE "," OUTPUT "," members "}"
#define STEP(step)    WITH("\"tables\":{\"users\":{\"topic\":\"u\"}},\"steps\":[" step "]")
#define AGGREGATE(members)                                                                         \
    STEP("{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"s\"}," members "}}")
#define WINDOW "\"window\":{\"tumbling\":\"1m\"}"
#define RESULT "\"result\":{\"n\":\"count\"}"

#define SOURCE_WITH(members) "{\"name\":\"p\",\"source\":{\"topic\":\"in\"," members "}," OUTPUT "}"
/* Something that can be tried again, before a rekey and behind it. */
#define RETRIED(retry)                                                                             \
    "{\"name\":\"p\"," SOURCE "," OUTPUT ",\"tables\":{\"users\":{\"topic\":\"u\"}},\"steps\":["   \
    "{\"join\":{\"table\":\"users\",\"on\":\"u\",\"set\":{\"a\":\"b\"}}},{\"rekey\":{\"key\":"     \
    "\"k\"}},"                                                                                     \
    "{\"join\":{\"table\":\"users\",\"on\":\"u\",\"set\":{\"a\":\"b\"}}}]," retry "}"

#define FLOWS(flows)                                                                               \
    "{\"name\":\"p\",\"sources\":{\"a\":{\"topic\":\"a\"},\"b\":{\"topic\":\"b\"}},\"flows\":"     \
    "{" flows "}}"
#define FLOW(members) FLOWS("\"x\":{\"from\":[\"a\",\"b\"]," members "}")

struct row {
    const char *text;
    const char *pointer;
    const char *reason;
    bool is_shape; /* the schema says no, too */
};

static const struct row BAD[] = {
    {"[]", "", "an object is needed", true},
    {"{" SOURCE "," OUTPUT "}", "", "\"name\" is missing", true},
    {"{\"name\":\"p\"," OUTPUT "}", "", "\"source\" is missing", true},
    {"{\"name\":\"p\"," SOURCE "}", "", "\"output\" is missing", true},
    {SOURCE_WITH("\"format\":\"strings\""), "/source/format", "(did you mean \"string\"?)", true},
    {SOURCE_WITH("\"key\":{}"), "/source/key", "\"as\" or \"from\" is needed", true},
    {SOURCE_WITH("\"key\":\"id\""), "/source/key", "an object is needed", true},
    {SOURCE_WITH("\"key\":{\"az\":\"id\"}"), "/source/key/az", "(did you mean \"as\"?)", true},
    {SOURCE_WITH("\"key\":{\"as\":\"/a/b\"}"), "/source/key/as", "", false},
    {SOURCE_WITH("\"key\":{\"as\":\"id\",\"format\":\"int\"}"), "/source/key/format",
     "(did you mean \"int64\"?)", true},
    {SOURCE_WITH("\"key\":{\"from\":\"id\",\"format\":\"json\"}"), "/source/key/format",
     "it says how `as` reads", true},
    {SOURCE_WITH("\"key\":{\"from\":\"id\",\"as\":\"k\",\"format\":\"json\"}"),
     "/source/key/format", "it says how `as` reads", true},
    {"{\"name\":\"p\",\"source\":{\"topic\":\"t\",\"tombstones\":\"dropp\"}," OUTPUT "}",
     "/source/tombstones", "(did you mean \"drop\"?)", true},
    {"{\"name\":\"a b\"," SOURCE "," OUTPUT "}", "/name", "no name for a Kafka topic", false},
    {"{\"name\":7," SOURCE "," OUTPUT "}", "/name", "a string that is not empty", true},
    {WITH("\"tabels\":{}"), "/tabels", "unknown member (did you mean \"tables\"?)", true},
    {WITH("\"tables\":[]"), "/tables", "an object of tables by name", true},
    {WITH("\"tables\":{\"a/b\":{}}"), "/tables/a~1b", "\"topic\" is missing", true},
    {WITH("\"tables\":{\"a\":{\"topic\":\"t\",\"rows_max\":0}}"), "/tables/a/rows_max",
     "a whole number from 1", true},
    {WITH("\"steps\":{}"), "/steps", "an array of steps", true},
    {WITH("\"steps\":[{}]"), "/steps/0", "exactly one member", true},
    {WITH("\"late\":{\"topic\":\"l\"}"), "/late", "nothing can be late", false},
    {"{\"name\":\"p\"," OUTPUT ",\"source\":{\"topic\":\"in\",\"timestamp\":{}}}",
     "/source/timestamp", "\"field\" is missing", true},
    {"{\"name\":\"p\"," OUTPUT
     ",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"t\",\"format\":\"epoch\"}}}",
     "/source/timestamp/format", "(did you mean \"epoch-s\"?)", true},
    {"{\"name\":\"p\"," OUTPUT ",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/~2\"}}}",
     "/source/timestamp/field", "'~' must be followed by", false},
    {"{\"name\":\"p\"," OUTPUT ",\"source\":{\"topic\":\"in\",\"watermark\":{\"delay\":5}}}",
     "/source/watermark/delay", "a duration like", true},
    {"{\"name\":\"p\"," OUTPUT
     ",\"source\":{\"topic\":\"in\",\"watermark\":{\"delay\":\"5 parsecs\"}}}",
     "/source/watermark/delay", "a duration like", false},
    {"{\"name\":\"p\"," OUTPUT
     ",\"source\":{\"topic\":\"in\",\"watermark\":{\"delay\":\"4000d\"}}}",
     "/source/watermark/delay", "at most ten years", false},
    {STEP("{\"fliter\":{}}"), "/steps/0/fliter", "(did you mean \"filter\"?)", true},
    {STEP("{\"filter\":{\"field\":\"a\"}}"), "/steps/0/filter", "an operator is missing", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"=\":1}}"), "/steps/0/filter/=", "unknown member", true},
    {STEP("{\"filter\":{\">\":1}}"), "/steps/0/filter", "\"field\" is missing", true},
    {STEP("{\"filter\":{\"field\":\"a\",\">\":null}}"), "/steps/0/filter/>",
     "only numbers and strings have an order", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"==\":[]}}"),
     "/steps/0/filter/==", "a number, a string, true, false or null", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"in\":[]}}"), "/steps/0/filter/in",
     "an array of at least one", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"in\":[1,{}]}}"), "/steps/0/filter/in/1",
     "a number, a string", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"exists\":1}}"), "/steps/0/filter/exists", "true or false",
     true},
    {STEP("{\"filter\":{\"field\":\"a\",\"null\":0}}"), "/steps/0/filter/null", "true or false",
     true},
    {STEP("{\"filter\":{\"field\":\"a\",\"prefix\":\"\"}}"), "/steps/0/filter/prefix",
     "a string that is not empty", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"contains\":1}}"), "/steps/0/filter/contains",
     "a string that is not empty", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"sufix\":\"x\"}}"), "/steps/0/filter/sufix",
     "(did you mean \"suffix\"?)", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"matches\":\"(\"}}"), "/steps/0/filter/matches",
     "not a regular expression", false},
    {STEP("{\"filter\":{\"field\":\"a\",\"matches\":\"\\\\Ax\"}}"), "/steps/0/filter/matches",
     "not a regular expression", false},
    {STEP("{\"filter\":{\"field\":\"a\",\"semver\":\"2.0.0\"}}"), "/steps/0/filter/semver",
     "an object is needed", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"semver\":{}}}"), "/steps/0/filter/semver",
     "an operator is missing", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"semver\":{\">=\":2}}}"),
     "/steps/0/filter/semver/>=", "a version like", true},
    {STEP("{\"filter\":{\"field\":\"a\",\"semver\":{\"in\":[\"1.0.0\",\"v2\"]}}}"),
     "/steps/0/filter/semver/in/1", "a version like", false},
    {STEP("{\"filter\":{\"field\":\"a\",\"semver\":{\"exists\":true}}}"),
     "/steps/0/filter/semver/exists", "unknown member", true},
    {STEP("{\"filter\":{\"expr\":\"\"}}"), "/steps/0/filter/expr", "an expression like", true},
    {STEP("{\"filter\":{\"expr\":7}}"), "/steps/0/filter/expr", "an expression like", true},
    {STEP("{\"filter\":{\"expr\":\"a >\"}}"), "/steps/0/filter/expr", "column 4: a value is needed",
     false},
    {STEP("{\"filter\":{\"expr\":\"a > 1\",\"field\":\"a\"}}"), "/steps/0/filter/field",
     "unknown member", true},
    {STEP("{\"filter\":{\"all\":[]}}"), "/steps/0/filter/all", "at least one condition", true},
    {STEP("{\"filter\":{\"all\":[{\"field\":\"a\",\"==\":1},{\"not\":[]}]}}"),
     "/steps/0/filter/all/1/not", "an object is needed", true},
    {STEP("{\"filter\":{\"all\":[{\"field\":\"a\",\"==\":1}],\"any\":[]}}"), "/steps/0/filter",
     "exactly one member", true},
    {STEP("{\"set\":{}}"), "/steps/0/set", "at least one member", true},
    {STEP("{\"set\":[]}"), "/steps/0/set", "at least one member", true},
    {STEP("{\"set\":{\"a\":7}}"), "/steps/0/set/a", "a field like", true},
    {STEP("{\"set\":{\"a\":\"\"}}"), "/steps/0/set/a", "a field like", true},
    {STEP("{\"set\":{\"a\":{}}}"), "/steps/0/set/a", "exactly one member", true},
    {STEP("{\"set\":{\"a\":{\"exrp\":\"1\"}}}"), "/steps/0/set/a/exrp", "(did you mean \"expr\"?)",
     true},
    {STEP("{\"set\":{\"a\":{\"expr\":\"1 +\"}}}"), "/steps/0/set/a/expr",
     "column 4: a value is needed", false},
    {STEP("{\"set\":{\"a\":{\"value\":1,\"expr\":\"1\"}}}"), "/steps/0/set/a", "exactly one member",
     true},
    {STEP("{\"set\":{\"a\":{\"object\":{\"b\":{\"array\":[{\"field\":7}]}}}}}"),
     "/steps/0/set/a/object/b/array/0/field", "a field like", true},
    {STEP("{\"set\":{\"a\":{\"object\":[]}}}"), "/steps/0/set/a/object", "an object of at most 64",
     true},
    {STEP("{\"set\":{\"/a/b\":{\"value\":1}}}"), "/steps/0/set/~1a~1b", "lies within a member",
     true},
    {STEP("{\"set\":{\"a\":{\"value\":{}},\"b\":\"/a/x\"}}"), "/steps/0/set",
     "make two steps of it", false},
    {STEP("{\"remove\":[]}"), "/steps/0/remove", "1 to 32 names", true},
    {STEP("{\"remove\":\"a\"}"), "/steps/0/remove", "1 to 32 names", true},
    {STEP("{\"remove\":[\"a\",1]}"), "/steps/0/remove/1", "the name of a member", true},
    {STEP("{\"remove\":[\"/a/b\"]}"), "/steps/0/remove/0", "lies within a member", true},
    {STEP("{\"rename\":{}}"), "/steps/0/rename", "1 to 32 members", true},
    {STEP("{\"rename\":{\"a\":1}}"), "/steps/0/rename/a", "a string that is not empty", true},
    {STEP("{\"rename\":{\"a\":\"/x/y\"}}"), "/steps/0/rename/a", "lies within a member", true},
    {STEP("{\"rename\":{\"a\":\"c\",\"b\":\"c\"}}"), "/steps/0/rename/a", "the new name of two",
     false},
    {STEP("{\"project\":[]}"), "/steps/0/project", "at least one", true},
    {STEP("{\"project\":{}}"), "/steps/0/project", "at least one", true},
    {STEP("{\"project\":[\"a\",\"/b/c\"]}"), "/steps/0/project/1", "the name of a member", true},
    {STEP("{\"project\":{\"a\":{\"filed\":\"b\"}}}"), "/steps/0/project/a/filed",
     "(did you mean \"field\"?)", true},
    {STEP("{\"flat_map\":{\"as\":\"i\"}}"), "/steps/0/flat_map", "\"each\" is missing", true},
    {STEP("{\"flat_map\":{\"each\":\"/items\"}}"), "/steps/0/flat_map", "\"as\" is missing", true},
    {STEP("{\"flat_map\":{\"each\":\"/~\",\"as\":\"i\"}}"), "/steps/0/flat_map/each", "'~'", false},
    {STEP("{\"flat_map\":{\"each\":\"/a\",\"as\":\"i\",\"keep\":{}}}"), "/steps/0/flat_map/keep",
     "an array of at most 32", true},
    {STEP("{\"flat_map\":{\"each\":\"/a\",\"as\":\"i\",\"keep\":[1]}}"), "/steps/0/flat_map/keep/0",
     "the name of a member", true},
    {STEP("{\"flat_map\":{\"each\":\"/a\",\"as\":\"i\",\"records_max\":0}}"),
     "/steps/0/flat_map/records_max", "a whole number from 1", true},
    {STEP("{\"lua\":{}}"), "/steps/0/lua", "one of \"script\" and \"file\"", true},
    {STEP("{\"lua\":{\"script\":\"x\",\"file\":\"x\"}}"), "/steps/0/lua",
     "one of \"script\" and \"file\"", true},
    {STEP("{\"lua\":{\"script\":\"function process(\"}}"), "/steps/0/lua",
     "script:1: <name> or '...'", false},
    {STEP("{\"lua\":{\"script\":\"x = 1\"}}"), "/steps/0/lua", "there is no function process",
     false},
    {STEP("{\"lua\":{\"script\":\"error('no')\"}}"), "/steps/0/lua", "script:1: no", false},
    {STEP("{\"lua\":{\"script\":\"while true do end\"}}"), "/steps/0/lua",
     "more than 1000000 instructions", false},
    {STEP("{\"lua\":{\"script\":\"\\u001bLJ\\u0002\"}}"), "/steps/0/lua",
     "attempt to load chunk with wrong mode", false},
    {STEP("{\"lua\":{\"file\":\"no-such.lua\"}}"), "/steps/0/lua/file", "no-such.lua: cannot open",
     false},
    {STEP("{\"lua\":{\"script\":\"function process() end\",\"memory_mib\":0}}"),
     "/steps/0/lua/memory_mib", "a whole number from 1 to 1024", true},
    {STEP("{\"lua\":{\"srcipt\":\"\"}}"), "/steps/0/lua/srcipt", "(did you mean \"script\"?)",
     true},
    {STEP("{\"validate\":{}}"), "/steps/0/validate", "\"schema\" is missing", true},
    {STEP("{\"validate\":{\"schema\":{\"tpye\":1}}}"), "/steps/0/validate/schema", "tpye", false},
    {STEP("{\"validate\":{\"schema\":\"no-such-file.json\"}}"), "/steps/0/validate/schema",
     "no-such-file.json", false},
    {STEP("{\"join\":{\"table\":\"user\",\"on\":\"/u\",\"set\":{\"a\":\"b\"}}}"),
     "/steps/0/join/table", "there is no table \"user\" (did you mean \"users\"?)", false},
    {STEP("{\"join\":{\"table\":\"users\",\"on\":\"/u\",\"set\":{}}}"), "/steps/0/join/set",
     "at least one member", false},
    {STEP("{\"join\":{\"table\":\"users\",\"on\":\"/u\",\"set\":{\"a\":1}}}"),
     "/steps/0/join/set/a", "the field of the table's row", true},
    {STEP("{\"join\":{\"table\":\"users\",\"on\":\"u\",\"type\":\"outer\",\"set\":{\"a\":\"b\"}}}"),
     "/steps/0/join/type", "not known here", true},
    {STEP("{\"join\":{\"table\":\"users\",\"on\":\"u\",\"as_of\":1,\"set\":{\"a\":\"b\"}}}"),
     "/steps/0/join/as_of", "true or false", true},
    {STEP("{\"join\":{\"table\":\"users\",\"on\":\"u\",\"as_of\":true,\"set\":{\"a\":\"b\"}}}"),
     "/steps/0/join/as_of", "give it a \"history\"", false},
    {WITH("\"tables\":{\"t\":{\"file\":\"no-such.json\",\"key\":\"id\"}}"), "/tables/t/file",
     "no-such.json: cannot open", false},
    {WITH("\"tables\":{\"t\":{\"file\":\"x.json\"}}"), "/tables/t", "\"key\" is missing", true},
    {WITH("\"tables\":{\"t\":{\"file\":\"x.json\",\"key\":\"/~\"}}"), "/tables/t/key", "'~'",
     false},
    {WITH("\"tables\":{\"t\":{\"file\":\"x.json\",\"key\":\"id\",\"topic\":\"t\"}}"),
     "/tables/t/topic", "unknown member", true},
    {WITH("\"tables\":{\"t\":{\"topic\":\"t\",\"history\":5}}"), "/tables/t/history",
     "a duration like", true},
    {STEP("{\"join\":{\"table\":\"users\",\"set\":{\"a\":\"b\"}}}"), "/steps/0/join",
     "\"on\" is missing", true},
    {STEP("{\"dedup\":{\"by\":\"/k\"}}"), "/steps/0/dedup", "\"ttl\" is missing", true},
    {STEP("{\"dedup\":{\"ttl\":\"1m\"}}"), "/steps/0/dedup", "\"by\" is missing", true},
    {STEP("{\"dedup\":{\"by\":[],\"ttl\":\"1m\"}}"), "/steps/0/dedup/by", "an array of 1 to 8",
     true},
    {STEP("{\"dedup\":{\"by\":[\"/a\",7],\"ttl\":\"1m\"}}"), "/steps/0/dedup/by/1",
     "a field is needed", true},
    {STEP("{\"dedup\":{\"by\":\"/k\",\"ttl\":\"0s\"}}"), "/steps/0/dedup/ttl", "for no time",
     false},
    {STEP("{\"dedup\":{\"by\":\"/k\",\"ttl\":\"1m\",\"store\":{\"keys_max\":0}}}"),
     "/steps/0/dedup/store/keys_max", "a whole number from 1", true},
    {FLOWS("\"x\":{\"from\":\"a\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT
           "}},{\"join_tables\":{\"with\":\"y\",\"on\":\"/c\",\"type\":\"outer\"}}]," OUTPUT
           "},\"y\":{\"from\":\"b\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT "}}]}"),
     "/flows/x/steps/1/join_tables/type", "\"outer\" is not known", false},
    {FLOWS("\"x\":{\"from\":\"a\",\"steps\":[{\"join_tables\":{\"with\":\"y\",\"on\":\"/"
           "c\"}}]," OUTPUT
           "},\"y\":{\"from\":\"b\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT "}}]}"),
     "/flows/x/steps/0/join_tables", "both sides must be tables", false},
    {FLOWS("\"x\":{\"from\":\"a\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT
           "}},{\"join_tables\":{\"with\":\"y\",\"on\":\"/c\"}}]," OUTPUT
           "},\"y\":{\"from\":\"b\",\"steps\":[{\"filter\":{\"field\":\"a\",\"==\":1}}]}"),
     "/flows/x/steps/1/join_tables/with", "both sides must be tables", false},
    {STEP("{\"suppress\":{}}"), "/steps/0/suppress", "\"for\" is missing", true},
    {STEP("{\"suppress\":{\"for\":\"0s\"}}"), "/steps/0/suppress/for", "longer than 0", false},
    {STEP("{\"suppress\":{\"until\":\"window_close\"}}"), "/steps/0/suppress/until",
     "\"emit\": [\"final\"] of its aggregate", true},
    {STEP("{\"suppress\":{\"for\":\"1s\",\"when_full\":\"fail\"}}"), "/steps/0/suppress/when_full",
     "\"fail\" is not known", true},
    {STEP("{\"suppress\":{\"for\":\"1s\",\"store\":{\"keys_max\":1}}}"),
     "/steps/0/suppress/store/keys_max", "unknown member", true},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," WINDOW "," RESULT "}},{\"suppress\":{\"for\":\"1s\"}}"),
     "/steps/1/suppress", "a group's windows have one key", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," WINDOW "," RESULT "}},{\"rekey\":{\"key\":\"/"
          "k\"}},{\"set\":{\"a\":{\"value\":1}}},{\"suppress\":{\"for\":\"1s\"}}"),
     "/steps/3/suppress", "a group's windows have one key", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT
          "}},{\"suppress\":{\"for\":\"1s\",\"by\":\"/a\"}}"),
     "/steps/1/suppress/by", "told apart by their keys", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT
          "}},{\"suppress\":{\"for\":\"1s\",\"when_full\":\"reject\"}}"),
     "/steps/1/suppress/when_full", "the next one would take it back", false},
    {AGGREGATE("\"emit\":[\"final\"]," RESULT), "/steps/0/aggregate/emit",
     "nothing is final without a window", false},
    {AGGREGATE("\"result\":{\"a\":{\"window\":\"end\"}}"), "/steps/0/aggregate/result",
     "no window of time to show", false},
    {AGGREGATE("\"key\":\"windowed\"," RESULT), "/steps/0/aggregate/key",
     "no window of time to put", false},
    {AGGREGATE(WINDOW), "/steps/0/aggregate", "\"result\" is missing", true},
    {AGGREGATE("\"window\":{\"tumbling\":\"0s\"}," RESULT), "/steps/0/aggregate/window/tumbling",
     "longer than 0", false},
    {AGGREGATE("\"window\":{\"grace\":\"1s\"}," RESULT), "/steps/0/aggregate/window",
     "\"sliding\", \"session\" or", true},
    {AGGREGATE("\"window\":{\"tumblin\":\"1s\"}," RESULT), "/steps/0/aggregate/window/tumblin",
     "(did you mean \"tumbling\"?)", true},
    {AGGREGATE("\"window\":{\"hopping\":\"10s\"}," RESULT), "/steps/0/aggregate/window",
     "\"advance\" is missing", true},
    {AGGREGATE("\"window\":{\"hopping\":\"10s\",\"advance\":\"11s\"}," RESULT),
     "/steps/0/aggregate/window/advance", "at most the window's size", false},
    {AGGREGATE("\"window\":{\"hopping\":\"7d\",\"advance\":\"1s\"}," RESULT),
     "/steps/0/aggregate/window/advance", "in more than 10000 windows", false},
    {AGGREGATE("\"window\":{\"session\":\"0s\"}," RESULT), "/steps/0/aggregate/window/session",
     "longer than 0", false},
    {AGGREGATE("\"window\":{\"session\":\"1s\",\"end\":\"first\"}," RESULT),
     "/steps/0/aggregate/window/end", "\"last\"", true},
    {AGGREGATE("\"window\":{\"session\":\"1s\",\"allowed_lateness\":\"1s\"}," RESULT),
     "/steps/0/aggregate/window/allowed_lateness", "unknown member", true},
    {AGGREGATE("\"window\":{\"count\":0}," RESULT), "/steps/0/aggregate/window/count",
     "a whole number from 1", true},
    {AGGREGATE("\"window\":{\"count\":5,\"grace\":\"1s\"}," RESULT),
     "/steps/0/aggregate/window/grace", "unknown member", true},
    {AGGREGATE("\"window\":{\"sliding\":\"1s\"},\"result\":{\"a\":{\"list\":\"/v\"}}"),
     "/steps/0/aggregate/window", "\"list\" needs \"over\": \"truncate\"", false},
    {AGGREGATE("\"window\":{\"sliding\":\"1s\",\"allowed_lateness\":\"1s\"}," RESULT),
     "/steps/0/aggregate/window/allowed_lateness", "windows that do not overlap", false},
    {AGGREGATE("\"window\":{\"tumbling\":\"1s\",\"allowed_lateness\":\"1s\"},\"emit\":[\"update\"]"
               "," RESULT),
     "/steps/0/aggregate/window/allowed_lateness", "a correction is of a final", false},
    {AGGREGATE("\"window\":{\"tumbling\":\"1s\",\"grace\":\"1s\",\"time\":\"processing\"}," RESULT),
     "/steps/0/aggregate/window", "nothing is late by the clock", false},
    {AGGREGATE(WINDOW ",\"emit\":[\"update\",{\"every\":\"1s\"}]," RESULT),
     "/steps/0/aggregate/emit", "\"every\" adds nothing", false},
    {AGGREGATE("\"emit\":[{\"every\":\"1s\"}]," RESULT), "/steps/0/aggregate",
     "\"every\" needs windows of time", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT "}},{\"aggregate\":{\"by\":\"/n\"," WINDOW
          "," RESULT "}}"),
     "/steps/1/aggregate/window", "a table has no windows", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT
          "}},{\"aggregate\":{\"by\":\"/n\",\"result\":{\"a\":{\"max\":\"/n\"}}}}"),
     "/steps/1/aggregate/result", "\"max\" cannot take back", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT
          "}},{\"aggregate\":{\"by\":\"/n\",\"result\":{\"a\":{\"set\":\"/n\"}}}}"),
     "/steps/1/aggregate/result", "\"set\" needs \"over\"", false},
    {STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT
          "}},{\"filter\":{\"field\":\"n\",\">\":1}},{\"aggregate\":{\"by\":\"/n\"," RESULT "}}"),
     "/steps/2/aggregate", "comes right behind it", false},
    {AGGREGATE(WINDOW ",\"late\":\"away\"," RESULT), "/steps/0/aggregate/late", "not known here",
     true},
    {AGGREGATE(WINDOW ",\"emit\":[]," RESULT), "/steps/0/aggregate/emit", "\"update\", \"final\"",
     true},
    {AGGREGATE(WINDOW ",\"emit\":[\"finals\"]," RESULT), "/steps/0/aggregate/emit/0",
     "(did you mean \"final\"?)", true},
    {AGGREGATE(WINDOW ",\"result\":{}"), "/steps/0/aggregate/result", "at least one member", false},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":\"cuont\"}"), "/steps/0/aggregate/result/a",
     "(did you mean \"count\"?)", true},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":{\"smu\":\"v\"}}"), "/steps/0/aggregate/result/a/smu",
     "(did you mean \"sum\"?)", true},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":{\"sum\":7}}"), "/steps/0/aggregate/result/a/sum",
     "a field is needed", true},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":{\"top\":{\"field\":\"/v\",\"k\":0}}}"),
     "/steps/0/aggregate/result/a/top/k", "a whole number from 1 to 1000", true},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":{\"percentile\":{\"field\":\"/v\",\"p\":101}}}"),
     "/steps/0/aggregate/result/a/percentile/p", "up to 100", true},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":{\"list\":{\"field\":\"/v\",\"max\":50000}}}"),
     "/steps/0/aggregate/result", "could grow to", false},
    {AGGREGATE(WINDOW ",\"result\":{\"a\":{\"window\":\"middle\"}}"),
     "/steps/0/aggregate/result/a/window", "not known here", true},
    {STEP("{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"s\"}," WINDOW "," RESULT "}},"
          "{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"s\"}," WINDOW "," RESULT "}}"),
     "/steps/1/aggregate", "another step has a store \"s\" already", false},
    {"{\"name\":\"p\",\"sources\":{\"a\":{\"topic\":\"a\"}}}", "", "\"flows\" is missing", true},
    {"{\"name\":\"p\",\"flows\":{\"x\":{\"from\":\"a\"," OUTPUT "}}}", "", "\"sources\" is missing",
     true},
    {"{\"name\":\"p\",\"sources\":{\"a\":{\"topic\":\"t\"},\"b\":{\"topic\":\"t\"}},\"flows\":{"
     "\"x\":{"
     "\"from\":[\"a\",\"b\"]," OUTPUT "}}}",
     "/sources/b/topic", "the topic is another source's already", false},
    {"{\"name\":\"p\",\"sources\":{},\"flows\":{}}", "/sources", "an object of sources by name",
     true},
    {"{\"name\":\"p\",\"sources\":{\"a\":{\"topic\":\"a\"}},\"flows\":{\"x\":{\"from\":"
     "\"a\"," OUTPUT "}}," OUTPUT "}",
     "/output", "has this in one of them", true},
    {"{\"name\":\"p\",\"sources\":{\"a\":{\"topic\":\"a\"},\"b\":{\"topic\":\"b\"}},\"flows\":{"
     "\"x\":{\"from\":\"a\"," OUTPUT "}}}",
     "/sources/b", "no flow reads this source", false},
    {"{\"name\":\"p\",\"sources\":{\"a.b\":{\"topic\":\"a\"}},\"flows\":{\"x\":{\"from\":"
     "\"a\"," OUTPUT "}}}",
     "/sources/a.b", "a name has letters", false},
    {FLOW("\"steps\":[]"), "/flows/x", "\"output\" is missing, and no flow reads this one", false},
    {FLOWS("\"x\":{" OUTPUT "}"), "/flows/x", "\"from\" is missing", true},
    {FLOWS("\"x\":{\"from\":[]," OUTPUT "}"), "/flows/x/from", "an array of 1 to 16 names", true},
    {FLOWS("\"x\":{\"from\":[\"a\",7]," OUTPUT "}"), "/flows/x/from/1",
     "the name of a source, a flow", true},
    {FLOWS("\"x\":{\"from\":[\"a\",\"b\",\"flw\"]," OUTPUT "},\"flow\":{\"from\":\"x\"," OUTPUT
           "}"),
     "/flows/x/from/2", "there is no source, flow or branch \"flw\" (did you mean \"flow\"?)",
     false},
    {FLOWS("\"x\":{\"from\":[\"a\",\"b\",\"z\"]},\"y\":{\"from\":\"x\"," OUTPUT
           "},\"z\":{\"from\":\"y\"," OUTPUT "}"),
     "/flows/x", "in a circle: x <- z <- y <- x", false},
    {"{\"name\":\"p\",\"flows\":{\"x\":{\"from\":\"x\"," OUTPUT "}}}", "/flows/x",
     "in a circle: x <- x", true},
    {FLOWS("\"a\":{\"from\":[\"a\",\"b\"]," OUTPUT "}"), "/flows/a",
     "there is another \"a\" already", false},
    {FLOW("\"steps\":[{\"branch\":[]}]"), "/flows/x/steps/0/branch", "an array of 1 to 16 branches",
     true},
    {FLOW("\"steps\":[{\"branch\":[{\"when\":{\"field\":\"a\",\"==\":1}}]}]"),
     "/flows/x/steps/0/branch/0", "\"name\" is missing", true},
    {FLOW("\"steps\":[{\"branch\":[{\"name\":\"u\"},{\"name\":\"v\"}]}]"),
     "/flows/x/steps/0/branch/0", "\"when\" is missing", false},
    {FLOW("\"steps\":[{\"branch\":[{\"name\":\"u\",\"when\":{\"field\":\"a\",\"==\":1}},{\"name\":"
          "\"u\"}]}]"),
     "/flows/x/steps/0/branch/1/name", "there is another \"x.u\" already", false},
    {FLOW("\"steps\":[{\"branch\":[{\"name\":\"u\"}]},{\"filter\":{\"field\":\"a\",\"==\":1}}]"),
     "/flows/x/steps/0/branch", "no step can follow it", false},
    {FLOW("\"steps\":[{\"branch\":[{\"name\":\"u\"}]}]," OUTPUT), "/flows/x",
     "no output and no reader of its own", false},
    {STEP("{\"branch\":[{\"name\":\"u\"}]}"), "/steps/0/branch", "name them in `flows`", false},
    {STEP("{\"rekey\":{}}"), "/steps/0/rekey", "\"key\" is missing", true},
    {"{\"name\":\"p\",\"source\":{\"topic\":\"t\",\"watermark\":{\"skew\":\"1m\"}}," OUTPUT "}",
     "/source/watermark/skew", "unknown member", true},
    {STEP("{\"rekey\":{\"key\":\"a\",\"watermark\":{\"skew\":1}}}"),
     "/steps/0/rekey/watermark/skew", "a duration like", true},
    {WITH("\"retry\":{}"), "/retry", "\"delays\", \"in_place\" or both are needed", true},
    {WITH("\"retry\":{\"in_place\":[]}"), "/retry/in_place", "1 to 8 durations", true},
    {WITH("\"retry\":{\"in_place\":[\"1s\"]}"), "/retry", "no step refuses anything", false},
    {RETRIED("\"retry\":{\"in_place\":[\"1s\"],\"topic\":\"later\"}"), "/retry",
     "\"topic\" is for \"delays\"", false},
    {WITH("\"errors\":{\"validate\":\"drop\"}"), "/errors/validate", "\"skip\"", true},
    {WITH("\"errors\":{\"prozess\":\"skip\"}"), "/errors/prozess", "did you mean \"process\"",
     true},
    {WITH("\"retry\":{\"delays\":[]}"), "/retry/delays", "1 to 8 durations", true},
    {WITH(
         "\"retry\":{\"delays\":[\"1s\",\"2s\",\"3s\",\"4s\",\"5s\",\"6s\",\"7s\",\"8s\",\"9s\"]}"),
     "/retry/delays", "1 to 8 durations", true},
    {WITH("\"retry\":{\"delays\":[\"1s\",2]}"), "/retry/delays/1", "a duration like", true},
    {WITH("\"retry\":{\"delays\":[\"1s\"],\"on\":[]}"), "/retry/on", "1 to 3 reasons", true},
    {WITH("\"retry\":{\"delays\":[\"1s\"],\"on\":[\"skript\"]}"), "/retry/on/0",
     "(did you mean \"script\"?)", true},
    {WITH("\"retry\":{\"delays\":[\"1s\"],\"delay\":1}"), "/retry/delay",
     "(did you mean \"delays\"?)", true},
    {WITH("\"retry\":{\"delays\":[\"1s\"]}"), "/retry", "no step refuses anything", false},
    {RETRIED("\"retry\":{\"delays\":[\"1s\"],\"topic\":\"a b\"}"), "/retry",
     "no name for a Kafka topic", false},
    {RETRIED("\"retry\":{\"delays\":[\"1s\"],\"topic\":\"later\"}"), "/retry/topic",
     "before a `rekey` and behind one", false},
    {STEP("{\"rekey\":{\"key\":\"a\",\"topic\":\"t\"}}"), "/steps/0/rekey/topic", "unknown member",
     true},
};

static enum err compile(const char *text, struct pipeline **ret, struct pipeline_errors *errors)
{
    CLEANUP(json_decrefp) json_t *document = NULL;
    struct err_info info = {0};
    if (json_text_load(sv(text), "f.json", &document, &info)) {
        fail_msg("%s: %s", info.text, text);
    }
    return pipeline_compile(document, "f.json", PIPELINE_OVERRIDES_NONE, ret, errors);
}

static void test_pipeline_compile__mistakes__are_named_with_their_place(void **state)
{
    (void)state;
    static struct pipeline_errors errors;
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct pipeline *pipeline = NULL;
        enum err e = compile(BAD[i].text, &pipeline, &errors);
        if (!e) {
            fail_msg("taken: %s", BAD[i].text);
        }
        char want[160];
        (void)snprintf(want, sizeof want,
                       "f.json: %s: ", BAD[i].pointer[0] ? BAD[i].pointer : "the file");
        bool is_said = false;
        for (size_t n = 0; n < errors.count; n++) {
            is_said |= strcmp(errors.items[n].pointer, BAD[i].pointer) == 0 &&
                       strncmp(errors.items[n].text, want, strlen(want)) == 0 &&
                       strstr(errors.items[n].text, BAD[i].reason);
        }
        if (!is_said) {
            fail_msg("%s\n  expected %s%s\n  got %s", BAD[i].text, want, BAD[i].reason,
                     errors.items[0].text);
        }
        assert_null(pipeline);
    }
}

static void test_pipeline_compile__several_mistakes__are_all_told(void **state)
{
    (void)state;
    static struct pipeline_errors errors;
    struct pipeline *pipeline = NULL;
    assert_err(ERR_CONFIG, compile("{\"nmae\":\"p\",\"source\":{\"topic\":\"\",\"x\":1},"
                                   "\"steps\":[{\"jion\":{}},{\"require\":{\"field\":\"a\"}}]}",
                                   &pipeline, &errors));
    /* nmae, no name, x, empty topic, jion, no operator, no output */
    assert_int_equal(7, errors.count);
}

static void test_pipeline_compile__hundreds_of_mistakes__are_counted(void **state)
{
    (void)state;
    static struct pipeline_errors errors;
    static char text[65536];
    struct pipeline *pipeline = NULL;
    size_t len = 0;
    len += (size_t)snprintf(text, sizeof text, "{\"name\":\"p\"," SOURCE "," OUTPUT);
    for (int i = 0; i < 500; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, ",\"unknown-%d\":0", i);
    }
    (void)snprintf(text + len, sizeof text - len, "}");
    assert_err(ERR_CONFIG, compile(text, &pipeline, &errors));
    assert_int_equal(500, errors.count);
}

static void test_pipeline_load__file_cannot_be_read__is_one_error(void **state)
{
    (void)state;
    static struct pipeline_errors errors;
    struct pipeline *pipeline = NULL;
    assert_err(ERR_IO,
               pipeline_load("/no/such/file.json", PIPELINE_OVERRIDES_NONE, &pipeline, &errors));
    assert_int_equal(1, errors.count);
    assert_non_null(strstr(errors.items[0].text, "/no/such/file.json"));
}

/* --- the schema for editors ---------------------------------------------------------------------*/

struct editor {
    struct schema *schema;
    struct json_scanner *scanner;
    struct schema_checker *checker;
};

static void editor_open(struct editor *editor)
{
    CLEANUP(json_decrefp) json_t *document = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, json_file_load(MILLRACE_SOURCE_DIR "/pipelines/pipeline.schema.json",
                                      &document, &info));
    enum err e = schema_compile(document, "pipeline.schema.json", &editor->schema, &info);
    if (e) {
        fail_msg("%s", info.text);
    }
    editor->scanner = json_scanner_new(64, 65536);
    editor->checker = schema_checker_new();
}

static void editor_close(struct editor *editor)
{
    schema_free(editor->schema);
    json_scanner_free(editor->scanner);
    schema_checker_free(editor->checker);
}

static bool editor_takes(const struct editor *editor, const char *text)
{
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(editor->scanner, sv(text), &doc, NULL));
    return !schema_check(editor->checker, editor->schema, &doc, 0, NULL);
}

static void test_pipeline_schema__agrees_with_the_loader(void **state)
{
    (void)state;
    static const char *const good[] = {
        WITH("\"description\":\"d\",\"$schema\":\"x\""),
        WITH("\"dead_letter\":{\"topic\":\"d\",\"description\":\"d\"}"),
        STEP("{\"description\":\"d\",\"filter\":{\"description\":\"d\",\"field\":\"a\",\"==\":null}"
             "}"),
        STEP("{\"filter\":{\"not\":{\"any\":[{\"all\":[{\"field\":\"a\",\">=\":1,\"<\":\"x\"}]},"
             "{\"field\":\"a\",\"in\":[1,\"x\",true,null]},{\"field\":\"a\",\"exists\":false}]}}}"),
        STEP("{\"filter\":{\"field\":\"a\",\"null\":false,\"prefix\":\"a\",\"suffix\":\"z\","
             "\"contains\":\"m\",\"matches\":\"^a.*z$\","
             "\"semver\":{\">=\":\"2\",\"!=\":\"2.1.0-rc.1+x\",\"in\":[\"2.1\"]}}}"),
        STEP("{\"filter\":{\"any\":[{\"expr\":\"amount * 2 > 7\",\"description\":\"d\"},"
             "{\"not\":{\"expr\":\"is_null(user.id)\"}}]}}"),
        STEP("{\"validate\":{\"schema\":true}}"),
        STEP("{\"set\":{\"a\":\"/x/y\",\"/b\":{\"expr\":\"a * 2\",\"description\":\"d\"},"
             "\"c\":{\"object\":{\"d\":{\"array\":[\"e\",{\"value\":null}]}}},\"f\":{\"field\":"
             "\"g\"}}},"
             "{\"remove\":[\"a\",\"/b\"]},{\"rename\":{\"c\":\"k\",\"/f\":\"/"
             "g\"}},{\"project\":[\"k\",\"/g\"]},"
             "{\"project\":{\"k\":\"k\",\"/l\":{\"value\":[]}}},{\"flat_map\":{\"each\":\"/"
             "l\",\"as\":\"m\","
             "\"index\":\"n\",\"keep\":[\"k\"],\"records_max\":5}}"),
        STEP("{\"lua\":{\"script\":\"function process(e) return e end\",\"instructions_max\":1000,"
             "\"memory_mib\":4,\"records_max\":1}}"),
        WITH("\"tables\":{\"t\":{\"topic\":\"t\",\"history\":\"1h\",\"rows_max\":5}},\"steps\":[{"
             "\"join\":"
             "{\"table\":\"t\",\"on\":\"a\",\"type\":\"left\",\"as_of\":true,\"set\":{\"b\":\"c\"}}"
             "}]"),
        STEP("{\"join\":{\"table\":\"users\",\"on\":\"u\",\"set\":{\"description\":\"b\"}}}"),
        AGGREGATE(WINDOW
                  ",\"result\":{\"a\":{\"variance\":{\"field\":\"v\",\"of\":\"population\"}},"
                  "\"b\":{\"max\":{\"field\":\"v\"}},\"c\":{\"stddev\":\"/v\"}}"),
        FLOWS(
            "\"x\":{\"from\":[\"a\",\"b\"],\"steps\":[{\"rekey\":{\"key\":\"/k\",\"watermark\":{"
            "\"delay\":\"1s\"}}},{\"branch\":[{\"name\":\"u\",\"when\":{\"field\":\"a\",\"==\":1}},"
            "{\"name\":\"v\",\"description\":\"d\"}]}]},\"y\":{\"from\":\"x.v\"," OUTPUT
            ",\"description\":\"d\"}"),
        STEP("{\"suppress\":{\"for\":\"10s\",\"by\":[\"/"
             "a\",\"b\"],\"when_full\":\"reject\",\"store\":{"
             "\"name\":\"s\",\"records_max\":5,\"bytes_max\":1000}}}"),
        AGGREGATE(WINDOW ",\"key\":\"windowed\"," RESULT "}},{\"suppress\":{\"for\":\"1s\""),
        STEP("{\"aggregate\":{\"by\":\"/k\"," RESULT "}}"),
        FLOWS("\"x\":{\"from\":\"a\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT
              "}},{\"join_tables\":{\"with\":\"y\",\"type\":\"outer\",\"as\":{\"left\":\"l\"},"
              "\"store\":{\"name\":\"j\"}}}]," OUTPUT
              "},\"y\":{\"from\":\"b\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT "}}]}"),
        FLOWS("\"x\":{\"from\":\"a\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT
              "}},{\"join_tables\":{\"with\":\"y\",\"on\":\"/"
              "a\",\"type\":\"left\",\"as\":{\"left\":\"l\"},"
              "\"store\":{\"name\":\"j\"}}}]," OUTPUT
              "},\"y\":{\"from\":\"b\",\"steps\":[{\"aggregate\":{\"by\":\"/k\"," RESULT "}}]}"),
        STEP("{\"aggregate\":{\"by\":\"/k\",\"window\":{\"count\":100},\"late\":\"drop\"," RESULT
             "}}"),
        AGGREGATE("\"window\":{\"hopping\":\"10s\",\"advance\":\"1s\",\"grace\":\"1s\"},\"key\":"
                  "\"windowed\"," RESULT),
        AGGREGATE("\"window\":{\"sliding\":\"10s\",\"time\":\"processing\"},\"emit\":[\"final\",{"
                  "\"every\":\"1s\",\"time\":\"processing\"}]," RESULT),
        AGGREGATE("\"window\":{\"tumbling\":\"10s\",\"allowed_lateness\":\"1s\"}," RESULT),
        FLOWS(
            "\"x\":{\"from\":\"a\",\"steps\":[{\"join\":{\"stream\":\"b\",\"on\":[\"k\",\"l\"],"
            "\"with\":\"m\",\"type\":\"outer\",\"within\":{\"before\":\"-1s\",\"after\":\"5s\","
            "\"exclusive\":[\"after\"]},\"grace\":\"1s\",\"unmatched\":\"eager\",\"as\":{\"left\":"
            "\"x\",\"right\":\"y\"},\"store\":{\"name\":\"s\",\"records_max\":5}}}]," OUTPUT "}"),
        SOURCE_WITH("\"format\":\"string\",\"key\":{\"as\":\"/id\",\"from\":\"value\"}"),
        SOURCE_WITH("\"key\":{\"as\":\"id\",\"format\":\"int64\",\"description\":\"d\"}"),
        RETRIED(
            "\"retry\":{\"delays\":[\"10s\",\"1m\"],\"on\":[\"script\",\"reference-missing\"]}"),
        WITH("\"steps\":[{\"lua\":{\"script\":\"function process(e) return e end\"}}],"
             "\"retry\":{\"topic\":\"later\",\"delays\":[\"10s\"],\"on\":[\"script\"],"
             "\"description\":\"d\"}"),
        RETRIED("\"retry\":{\"in_place\":[\"100ms\",\"1s\"],\"delays\":[\"10s\"]}"),
        RETRIED(
            "\"retry\":{\"in_place\":[\"1s\"]},\"errors\":{\"process\":\"fail\",\"description\":"
            "\"d\"}"),
        WITH("\"errors\":{\"deserialize\":\"skip\",\"validate\":\"skip\",\"process\":\"dead_"
             "letter\","
             "\"produce\":\"fail\"}"),
        AGGREGATE(WINDOW ",\"emit\":[\"final\"],\"result\":{\"a\":\"key\",\"b\":{\"min\":\"/x\"},"
                         "\"c\":{\"window\":\"start\",\"as\":\"iso8601\"}}"),
    };
    static struct pipeline_errors errors;
    struct editor editor;
    editor_open(&editor);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct pipeline *pipeline = NULL;
        enum err e = compile(good[i], &pipeline, &errors);
        if (e || !editor_takes(&editor, good[i])) {
            fail_msg("%s: %s", good[i], e ? errors.items[0].text : "the schema does not take it");
        }
        pipeline_free(pipeline);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        if (editor_takes(&editor, BAD[i].text) == BAD[i].is_shape) {
            fail_msg("the schema %s %s", BAD[i].is_shape ? "takes" : "does not take", BAD[i].text);
        }
    }
    editor_close(&editor);
}

static void test_pipelines_that_ship__load_and_match_the_schema(void **state)
{
    (void)state;
    static const char *const names[] = {
        "orders.json",  "product-metrics.json", "user-login.json", "login-insights.json",
        "sensors.json", "order-payments.json",  "employees.json",  "click-sessions.json"};
    struct editor editor;
    editor_open(&editor);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct fixture f;
        fixture_load(&f, names[i]);
        fixture_stop(&f);
        char path[512];
        CLEANUP(json_decrefp) json_t *document = NULL;
        (void)snprintf(path, sizeof path, "%s/pipelines/%s", MILLRACE_SOURCE_DIR, names[i]);
        assert_err(ERR_OK, json_file_load(path, &document, NULL));
        char *text = json_dumps(document, 0);
        assert_true(editor_takes(&editor, text));
        free(text);
    }
    editor_close(&editor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline_compile__mistakes__are_named_with_their_place),
        cmocka_unit_test(test_pipeline_compile__several_mistakes__are_all_told),
        cmocka_unit_test(test_pipeline_compile__hundreds_of_mistakes__are_counted),
        cmocka_unit_test(test_pipeline_load__file_cannot_be_read__is_one_error),
        cmocka_unit_test(test_pipeline_schema__agrees_with_the_loader),
        cmocka_unit_test(test_pipelines_that_ship__load_and_match_the_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
