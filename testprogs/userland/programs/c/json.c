// json: makes a document, parses it into a tree, writes the tree, parses that, and compares.
#include <stdbool.h>

#include "common.h"

enum kind { NUL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT };
struct value {
    enum kind kind;
    double number;
    char *string;
    struct value *name, *child, *next; // name: in objects; child: the first of an array or object
};

static struct value *new_value(enum kind kind) {
    struct value *v = calloc(1, sizeof *v);
    if (!v) abort();
    v->kind = kind;
    return v;
}

// ---- text -----------------------------------------------------------------------------------

struct text {
    char *bytes;
    size_t size, room;
};

static void add(struct text *t, const char *s, size_t n) {
    if (t->size + n + 1 > t->room) {
        t->room = 2 * (t->size + n + 1);
        t->bytes = realloc(t->bytes, t->room);
        if (!t->bytes) abort();
    }
    memcpy(t->bytes + t->size, s, n);
    t->size += n;
    t->bytes[t->size] = 0;
}

static void write_string(struct text *t, const char *s) {
    add(t, "\"", 1);
    for (; *s; s++) {
        char escape[8];
        if (*s == '"' || *s == '\\') add(t, escape, (size_t)sprintf(escape, "\\%c", *s));
        else if ((unsigned char)*s < ' ') add(t, escape, (size_t)sprintf(escape, "\\u%04x", *s));
        else add(t, s, 1);
    }
    add(t, "\"", 1);
}

static void write_value(struct text *t, const struct value *v) {
    static const char *const words[] = {"null", "false", "true"};
    char number[32];
    switch (v->kind) {
    case NUMBER: add(t, number, (size_t)sprintf(number, "%.17g", v->number)); return;
    case STRING: write_string(t, v->string); return;
    case ARRAY:
    case OBJECT:
        add(t, v->kind == ARRAY ? "[" : "{", 1);
        for (const struct value *c = v->child; c; c = c->next) {
            if (c->name) {
                write_string(t, c->name->string);
                add(t, ":", 1);
            }
            write_value(t, c);
            if (c->next) add(t, ",", 1);
        }
        add(t, v->kind == ARRAY ? "]" : "}", 1);
        return;
    default: add(t, words[v->kind], strlen(words[v->kind]));
    }
}

// ---- parsing --------------------------------------------------------------------------------

static const char *at;

static void blanks(void) { at += strspn(at, " \t\r\n"); }

static bool taken(const char *word) {
    size_t n = strlen(word);
    if (strncmp(at, word, n) != 0) return false;
    at += n;
    return true;
}

static struct value *parse_string(void) {
    struct text t = {0};
    add(&t, "", 0);
    for (at++; *at && *at != '"'; at++) {
        char c = *at;
        if (c == '\\' && *++at == 'u') {
            c = (char)strtoul((char[]){at[1], at[2], at[3], at[4], 0}, NULL, 16);
            at += 4;
        } else if (c == '\\') {
            c = *at;
        }
        add(&t, &c, 1);
    }
    at++;
    struct value *v = new_value(STRING);
    v->string = t.bytes;
    return v;
}

static struct value *parse(void);

static struct value *parse_members(enum kind kind, char end) {
    struct value *v = new_value(kind), **link = &v->child;
    at++;
    for (blanks(); *at && *at != end; blanks()) {
        struct value *name = NULL;
        if (kind == OBJECT) {
            name = parse_string();
            blanks();
            at++; // the colon
        }
        *link = parse();
        (*link)->name = name;
        link = &(*link)->next;
        blanks();
        if (*at == ',') at++;
    }
    at++;
    return v;
}

static struct value *parse(void) {
    blanks();
    if (*at == '{') return parse_members(OBJECT, '}');
    if (*at == '[') return parse_members(ARRAY, ']');
    if (*at == '"') return parse_string();
    if (taken("null")) return new_value(NUL);
    if (taken("false")) return new_value(FALSE);
    if (taken("true")) return new_value(TRUE);
    struct value *v = new_value(NUMBER);
    char *end;
    v->number = strtod(at, &end);
    if (end == at) abort();
    at = end;
    return v;
}

static void release(struct value *v) {
    while (v) {
        struct value *next = v->next;
        release(v->name);
        release(v->child);
        free(v->string);
        free(v);
        v = next;
    }
}

// ---- the work -------------------------------------------------------------------------------

static void make_document(struct text *t, unsigned long records) {
    uint64_t seed = 3;
    char record[256];
    add(t, "{\"records\" : [", 14);
    for (unsigned long i = 0; i < records; i++) {
        uint64_t r = next_random(&seed);
        double scale = (double)(r >> 40) * 1e-3, tiny = 1.0 / (double)(r | 1);
        int n = sprintf(record, "%s\n  {\"id\": %lu, \"name\": \"n\\u0041\\\"%lx\\\\\", \"on\": %s, \"at\": [%g, %.12e, -%lu, null]}",
                        i ? "," : "", i, r & 0xffff, r & 1 ? "true" : "false", scale, tiny, r >> 48);
        add(t, record, (size_t)n);
    }
    add(t, "\n]}", 3);
}

static double sum(const struct value *v) {
    double total = 0;
    for (; v; v = v->next) total += (v->kind == NUMBER ? v->number : 0) + sum(v->child);
    return total;
}

int main(int argc, char **argv) {
    struct text document = {0}, once = {0}, twice = {0};
    make_document(&document, rounds_of(argc, argv, 200));
    at = document.bytes;
    struct value *tree = parse();
    write_value(&once, tree);
    at = once.bytes;
    struct value *again = parse();
    write_value(&twice, again);
    printf("document %zu bytes %016lx\n", document.size, fnv1a(FNV_START, document.bytes, document.size));
    printf("written  %zu bytes %016lx\n", once.size, fnv1a(FNV_START, once.bytes, once.size));
    printf("sum %a %.17g, again %s\n", sum(tree), sum(again), strcmp(once.bytes, twice.bytes) == 0 ? "the same" : "DIFFERENT");
    release(tree);
    release(again);
    free(document.bytes), free(once.bytes), free(twice.bytes);
    return 0;
}
