/* Runs transactions through libmodsecurity 3, for comparison with Archipel's own engine. Test only: no part of the program.
 *
 * usage: modsecurity RULES
 * RULES is a file in a folder of its own that holds, or includes, all rules and their data.
 *
 * Says one line of JSON about itself once the rules are loaded, then reads commands from standard input and answers each with
 * one line. A command is one letter and a frame; integers are 32 bits, little endian; a string is its length and its bytes.
 *
 *   T FRAME          runs the transaction once:
 *                    {"matched":[ids in order],"status":0 or the intervention's,"rule":0 or the id that intervened,"phase":n}
 *   B REPEAT FRAME   runs it REPEAT times:
 *                    {"ns":[processor time of each run]}
 *
 *   FRAME: client address, server address, URI, method, version, count of headers, name and value of each, body,
 *   status of the response (0: none, and no response phases), version, count of headers, name and value of each, body.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <modsecurity/modsecurity.h>
#include <modsecurity/rules_set.h>
#include <modsecurity/transaction.h>

enum { FRAME_BYTES_MAX = 64 << 20, MATCHES_MAX = 4096, HEADERS_MAX = 1024 };

struct text {
    char *bytes; /* ends with a zero that is not counted */
    uint32_t length;
};

struct header {
    struct text name, value;
};

struct message {
    uint32_t status;
    struct text version;
    uint32_t header_count;
    struct header headers[HEADERS_MAX];
    struct text body;
};

static struct frame {
    struct text client, server, uri, method;
    struct message request, response;
} frame;

/* What the callback of the log has seen of the transaction under way. */
static struct {
    uint32_t count;
    long ids[MATCHES_MAX];
} matched;

/* The folder of the rules, with its last slash. */
static char rules_folder[4096];

static void die(const char *why) {
    fprintf(stderr, "modsecurity: %s\n", why);
    exit(2);
}

static int take(void *into, size_t length) {
    return fread(into, 1, length, stdin) == length;
}

static uint32_t take_number(void) {
    unsigned char bytes[4];
    if (!take(bytes, sizeof bytes)) die("a frame breaks off");
    return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void take_text(struct text *text) {
    uint32_t length = take_number();
    if (length > FRAME_BYTES_MAX) die("a string is too long");
    text->bytes = realloc(text->bytes, (size_t)length + 1);
    if (text->bytes == NULL) die("out of memory");
    if (!take(text->bytes, length)) die("a frame breaks off");
    text->bytes[length] = 0;
    text->length = length;
}

static void take_rest_of_message(struct message *message) {
    take_text(&message->version);
    message->header_count = take_number();
    if (message->header_count > HEADERS_MAX) die("too many headers");
    for (uint32_t at = 0; at < message->header_count; at++) {
        take_text(&message->headers[at].name);
        take_text(&message->headers[at].value);
    }
    take_text(&message->body);
}

static void take_frame(void) {
    take_text(&frame.client);
    take_text(&frame.server);
    take_text(&frame.uri);
    take_text(&frame.method);
    take_rest_of_message(&frame.request);
    frame.response.status = take_number();
    take_rest_of_message(&frame.response);
}

/* The id stands behind the name of the rule's file. No data of a test names that folder, which is a temporary one, so what
 * looks like an id in a matched value is not taken for one. */
static long id_of(const char *line) {
    const char *at = strstr(line, rules_folder);
    at = at ? strstr(at, "[id \"") : NULL;
    return at ? strtol(at + 5, NULL, 10) : 0;
}

static void on_log(void *data, const void *line) {
    (void)data;
    if (line != NULL && matched.count < MATCHES_MAX) matched.ids[matched.count++] = id_of(line);
}

/* Whether the transaction was stopped. The text of an intervention's log is that of the rule, so it names the id. */
static int stopped(Transaction *transaction, ModSecurityIntervention *found, long *rule) {
    memset(found, 0, sizeof *found);
    found->status = 200;
    if (!msc_intervention(transaction, found) || !found->disruptive) return 0;
    *rule = found->log ? id_of(found->log) : 0;
    free(found->log);
    free(found->url);
    return 1;
}

static void add(Transaction *transaction, const struct message *message,
                int (*add_one)(Transaction *, const unsigned char *, size_t, const unsigned char *, size_t)) {
    for (uint32_t at = 0; at < message->header_count; at++) {
        const struct header *header = &message->headers[at];
        add_one(transaction, (const unsigned char *)header->name.bytes, header->name.length,
                (const unsigned char *)header->value.bytes, header->value.length);
    }
}

struct verdict {
    int phase, status;
    long rule;
};

/* The phases in the order of a proxy, up to the first that stops the transaction. */
static struct verdict evaluate(Transaction *transaction) {
    ModSecurityIntervention found;
    struct verdict verdict = {0, 0, 0};
    msc_process_connection(transaction, frame.client.bytes, 40000, frame.server.bytes, 80);
    msc_process_uri(transaction, frame.uri.bytes, frame.method.bytes, frame.request.version.bytes);
    add(transaction, &frame.request, msc_add_n_request_header);
    for (int phase = 1; phase <= (frame.response.status ? 4 : 2) && verdict.phase == 0; phase++) {
        switch (phase) {
        case 1:
            msc_process_request_headers(transaction);
            break;
        case 2:
            if (frame.request.body.length > 0)
                msc_append_request_body(transaction, (const unsigned char *)frame.request.body.bytes, frame.request.body.length);
            msc_process_request_body(transaction);
            break;
        case 3:
            add(transaction, &frame.response, msc_add_n_response_header);
            msc_process_response_headers(transaction, (int)frame.response.status, frame.response.version.bytes);
            break;
        default:
            msc_append_response_body(transaction, (const unsigned char *)frame.response.body.bytes, frame.response.body.length);
            msc_process_response_body(transaction);
        }
        if (stopped(transaction, &found, &verdict.rule)) {
            verdict.phase = phase;
            verdict.status = found.status;
        }
    }
    msc_process_logging(transaction);
    return verdict;
}

static struct verdict run(ModSecurity *engine, RulesSet *rules) {
    matched.count = 0;
    Transaction *transaction = msc_new_transaction(engine, rules, NULL);
    struct verdict verdict = evaluate(transaction);
    msc_transaction_cleanup(transaction);
    return verdict;
}

static void run_once(ModSecurity *engine, RulesSet *rules) {
    struct verdict verdict = run(engine, rules);
    printf("{\"matched\":[");
    for (uint32_t at = 0; at < matched.count; at++) printf("%s%ld", at ? "," : "", matched.ids[at]);
    printf("],\"status\":%d,\"rule\":%ld,\"phase\":%d}\n", verdict.status, verdict.rule, verdict.phase);
}

static uint64_t processor_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void run_often(ModSecurity *engine, RulesSet *rules, uint32_t repeat) {
    printf("{\"ns\":[");
    for (uint32_t at = 0; at < repeat; at++) {
        uint64_t begun = processor_ns();
        run(engine, rules);
        printf("%s%llu", at ? "," : "", (unsigned long long)(processor_ns() - begun));
    }
    printf("]}\n");
}

static long resident_bytes(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    if (file != NULL) fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Bytes of anonymous executable memory: what a JIT compiler has written. */
static unsigned long compiled_bytes(void) {
    char line[512], rights[8], path[256];
    unsigned long begin, end, sum = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        path[0] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &begin, &end, rights, path) >= 3 && rights[2] == 'x' && path[0] == 0)
            sum += end - begin;
    }
    if (file != NULL) fclose(file);
    return sum;
}

/* What the regular expression library that libmodsecurity has loaded says of itself: 1 is PCRE2_CONFIG_JIT, 11 its version. */
static void introduce(ModSecurity *engine, int rule_count, long grown_bytes) {
    int (*config)(uint32_t, void *) = (int (*)(uint32_t, void *))dlsym(RTLD_DEFAULT, "pcre2_config_8");
    uint32_t jit = 0;
    char version[64] = "";
    if (config != NULL) {
        config(1, &jit);
        config(11, version);
    }
    printf("{\"engine\":\"%s\",\"pcre2\":\"%s\",\"jit\":%s,\"jit_bytes\":%lu,\"rules\":%d,\"grown_bytes\":%ld}\n",
           msc_who_am_i(engine), version, jit ? "true" : "false", compiled_bytes(), rule_count, grown_bytes);
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *error = NULL;
    if (argc != 2) die("usage: modsecurity RULES");
    char *slash = strrchr(argv[1], '/');
    if (slash == NULL || slash - argv[1] + 2 > (long)sizeof rules_folder) die("the rules need a path with a folder");
    memcpy(rules_folder, argv[1], (size_t)(slash - argv[1] + 1));
    ModSecurity *engine = msc_init();
    msc_set_log_cb(engine, on_log);
    RulesSet *rules = msc_create_rules_set();
    long before = resident_bytes();
    int count = msc_rules_add_file(rules, argv[1], &error);
    if (count < 0) die(error ? error : "the rules do not load");
    introduce(engine, count, resident_bytes() - before);
    for (int command; (command = getchar()) != EOF; fflush(stdout)) {
        uint32_t repeat = command == 'B' ? take_number() : 1;
        take_frame();
        if (command == 'T') run_once(engine, rules);
        else if (command == 'B') run_often(engine, rules, repeat);
        else die("unknown command");
    }
    msc_rules_cleanup(rules);
    msc_cleanup(engine);
    return 0;
}
