/* folder.h - takes away a folder that a test has made, with all that is in it. Who includes it defines _GNU_SOURCE
 * first: nftw. */
#pragma once

#include <ftw.h>
#include <stdio.h>

static inline int folder_entry_remove(const char *path, const struct stat *status, int type,
                                      struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

/* 0: it is gone. */
static inline int folder_remove(const char *path)
{
    return nftw(path, folder_entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}
