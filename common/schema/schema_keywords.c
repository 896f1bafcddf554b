#include "schema/schema_keywords.h"

#include "core/attributes.h"
#include "core/nearest.h"

const struct keyword keywords[KEYWORD_COUNT] = {
#define KEYWORD_ROW_(name_, drafts_, vocabulary_, shape_, fn_)                                     \
    {(name_), DRAFT_##drafts_, VOCABULARY_##vocabulary_, SHAPE_##shape_},
    KEYWORD_MAP(KEYWORD_ROW_)
#undef KEYWORD_ROW_
};

size_t keyword_find(const char *name, enum draft draft)
{
    size_t i = 0;
    while (i < KEYWORD_COUNT &&
           !((keywords[i].drafts & draft) && strcmp(name, keywords[i].name) == 0)) {
        i++;
    }
    return i;
}

bool keyword_is_of_other_draft(const char *name, enum draft draft)
{
    return keyword_find(name, draft ^ DRAFT_BOTH) < KEYWORD_COUNT;
}

const char *keyword_nearest(const char *name)
{
    const char *names[KEYWORD_COUNT];
    for (size_t i = 0; i < KEYWORD_COUNT; i++) {
        names[i] = keywords[i].name;
    }
    return nearest_name(name, names, ARRAY_LEN(names));
}
