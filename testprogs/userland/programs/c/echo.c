// echo: says what it is called with, then numbers the lines it is given.
#include <unistd.h>

#include "common.h"

extern char **environ;

int main(int argc, char **argv) {
    char line[100];
    int lines = 0;
    for (int i = 0; i < argc; i++) printf("%s%s", i ? " " : "", argv[i]);
    for (char **e = environ; *e; e++) printf(", %s", *e);
    printf(", %s\n", isatty(0) && isatty(1) ? "a terminal" : "no terminal");
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        printf("%d [%s]\n", ++lines, line);
    }
    puts("end");
    return lines;
}
