// A printf for integers and strings.
#include "runtime.h"

static void pad(int count, char with) {
    while (count-- > 0) putchar(with);
}

static void put_padded(const char *s, int length, int width, bool left, char with) {
    if (!left) pad(width - length, with);
    for (int i = 0; i < length; i++) putchar(s[i]);
    if (left) pad(width - length, ' ');
}

static int digits(char *end, uint64_t value, unsigned base) {
    int n = 0;
    do {
        *--end = "0123456789abcdef"[value % base];
        value /= base;
        n++;
    } while (value);
    return n;
}

static uint64_t argument(va_list *args, bool is_long, bool is_signed) {
    if (is_long) return va_arg(*args, uint64_t);
    return is_signed ? (uint64_t)(int64_t)va_arg(*args, int) : va_arg(*args, unsigned);
}

static const char *conversion(const char *f, va_list *args) {
    bool left = *f == '-';
    if (left) f++;
    char with = *f == '0' ? '0' : ' ';
    int width = 0;
    while (*f >= '0' && *f <= '9') width = 10 * width + (*f++ - '0');
    bool is_long = *f == 'l' || *f == 'z';
    while (*f == 'l' || *f == 'z') f++;

    char text[24], *end = text + sizeof text;
    switch (*f) {
    case 'd': {
        uint64_t value = argument(args, is_long, true);
        bool negative = (int64_t)value < 0;
        int n = digits(end, negative ? -value : value, 10);
        if (negative) end[-++n] = '-';
        put_padded(end - n, n, width, left, ' ');
        break;
    }
    case 'u':
    case 'x': {
        int n = digits(end, argument(args, is_long, false), *f == 'x' ? 16 : 10);
        put_padded(end - n, n, width, left, with);
        break;
    }
    case 's': {
        const char *s = va_arg(*args, const char *);
        put_padded(s, (int)strlen(s), width, left, ' ');
        break;
    }
    case 'c': putchar((char)va_arg(*args, int)); break;
    default: putchar(*f);
    }
    return *f ? f + 1 : f;
}

void printf(const char *f, ...) {
    va_list args;
    va_start(args, f);
    while (*f) {
        if (*f == '%') f = conversion(f + 1, &args);
        else putchar(*f++);
    }
    va_end(args);
}
