target_compile_definitions(stream-test PRIVATE MILLRACE_VERSION="${PROJECT_VERSION}")
