// regex: POSIX regular expressions of the C library over generated text.
#include <regex.h>

#include "common.h"

static const char *const expressions[] = {
    "[a-z]+@[a-z]+\\.[a-z]{2,7}", "0x[0-9a-f]+", "(one|another) +after", "(^|[^a-z])(the|then) (m|f)[a-z]*",
    "[[:digit:]]{4} [[:alpha:]]+", "i.s.r.c.i.n", "(a|b|of|page)( (a|of|page|fault))+",
};
enum { EXPRESSIONS = sizeof expressions / sizeof expressions[0], GROUPS = 4 };

int main(int argc, char **argv) {
    size_t size = 1000 * rounds_of(argc, argv, 20);
    char *text = malloc(size + 1);
    if (!text) return 1;
    make_text(text, size, 11);
    text[size] = 0;
    for (int i = 0; i < EXPRESSIONS; i++) {
        regex_t regex;
        int error = regcomp(&regex, expressions[i], REG_EXTENDED | REG_NEWLINE);
        if (error) return printf("%s: error %d\n", expressions[i], error), 1;
        regmatch_t groups[GROUPS];
        uint64_t hash = FNV_START, matches = 0;
        char *from = text;
        for (; regexec(&regex, from, GROUPS, groups, from == text ? 0 : REG_NOTBOL) == 0; matches++) {
            for (int g = 0; g < GROUPS; g++)
                if (groups[g].rm_so >= 0) hash = fnv1a(hash, from + groups[g].rm_so, (size_t)(groups[g].rm_eo - groups[g].rm_so));
            from += groups[0].rm_eo ? groups[0].rm_eo : 1;
        }
        printf("%-40s %6lu matches %016lx\n", expressions[i], matches, hash);
        regfree(&regex);
    }
    free(text);
    return 0;
}
