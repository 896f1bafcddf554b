/* Linked into a unit test, it holds the test to one thread: ThreadSanitizer need not see that one. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>

_Noreturn static void second_thread(void)
{
    (void)fputs("a second thread: name the test in THREADED, tests/CMakeLists.txt\n", stderr);
    abort();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    (void)thread;
    (void)attributes;
    (void)start;
    (void)argument;
    second_thread();
}

int thrd_create(thrd_t *thread, thrd_start_t start, void *argument)
{
    (void)thread;
    (void)start;
    (void)argument;
    second_thread();
}
