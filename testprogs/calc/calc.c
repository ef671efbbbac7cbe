// calc: a calculator over the console: a conversation whose state (the variables) must survive.
// 64-bit integers, + - * / % ( ), variables a to z, `quit` to leave. Replies are numbered, so that a
// client can tell a line that was lost or taken twice.
//
//   2 + 3 * 4            [1] 14
//   x = (2 + 3) * -4     [2] -20
//   x / 0                [3] error: division by zero
//   quit                 [4] bye
#include "runtime.h"

static int64_t variables[26];
static const char *at;    // the next character
static const char *error; // the first thing that went wrong in this line

static int64_t sum(void);

static int64_t fail(const char *why) {
    if (!error) error = why;
    return 0;
}

static char peek(void) {
    while (*at == ' ') at++;
    return *at;
}

static int64_t number(void) {
    uint64_t n = 0;
    while (*at >= '0' && *at <= '9') n = 10 * n + (uint64_t)(*at++ - '0');
    return (int64_t)n;
}

static int64_t factor(void) {
    char c = peek();
    if (c >= '0' && c <= '9') return number();
    if (c >= 'a' && c <= 'z') return variables[*at++ - 'a'];
    if (c == '-') return at++, (int64_t)-(uint64_t)factor();
    if (c != '(') return fail("a number expected");
    at++;
    int64_t value = sum();
    if (peek() != ')') return fail(") expected");
    at++;
    return value;
}

static int64_t divide(int64_t a, int64_t b, bool remainder) {
    if (b == 0) return fail("division by zero");
    if (b == -1) return remainder ? 0 : (int64_t)-(uint64_t)a; // the one quotient that IDIV cannot hold
    return remainder ? a % b : a / b;
}

static int64_t product(void) {
    int64_t value = factor();
    for (;;) {
        char c = peek();
        if (c == '*') at++, value = (int64_t)((uint64_t)value * (uint64_t)factor());
        else if (c == '/' || c == '%') at++, value = divide(value, factor(), c == '%');
        else return value;
    }
}

static int64_t sum(void) {
    int64_t value = product();
    for (;;) {
        char c = peek();
        if (c == '+') at++, value = (int64_t)((uint64_t)value + (uint64_t)product());
        else if (c == '-') at++, value = (int64_t)((uint64_t)value - (uint64_t)product());
        else return value;
    }
}

static int64_t statement(const char *line) {
    at = line, error = NULL;
    int variable = -1;
    if (peek() >= 'a' && *at <= 'z') {
        const char *begin = at++;
        if (peek() == '=') at++, variable = *begin - 'a';
        else at = begin;
    }
    int64_t value = sum();
    if (peek()) fail("end of line expected");
    if (!error && variable >= 0) variables[variable] = value;
    return value;
}

int main(void) {
    char line[100];
    puts("calc ready\n");
    for (uint64_t reply = 1;; reply++) {
        while (getline(line, sizeof line) == 0) {}
        if (strcmp(line, "quit") == 0) {
            printf("[%lu] bye\n", reply);
            return 0;
        }
        int64_t value = statement(line);
        if (error) printf("[%lu] error: %s\n", reply, error);
        else printf("[%lu] %ld\n", reply, value);
    }
}
