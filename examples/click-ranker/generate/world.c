/* The click-ranker's ground truth: see world.h. */
#include "examples/click-ranker/generate/world.h"

#include <math.h>
#include <stdbool.h>

const char *const world_segments[WORLD_SEGMENTS] = {"bargain", "casual", "collector",
                                                    "family",  "gift",   "premium"};
const char *const world_devices[WORLD_DEVICES] = {"desktop", "phone", "tablet", "tv"};
const char *const world_countries[WORLD_COUNTRIES] = {"DE", "FR", "GB", "IT", "ES", "PL",
                                                      "NL", "SE", "AT", "CH", "PT", "DK"};

static const double device_slope[WORLD_DEVICES] = {-0.9, -0.3, 0.2, 0.6};
static const double device_cumulative[WORLD_DEVICES] = {0.35, 0.80, 0.93, 1.0};
static const double mean_log_price = 3.0, sd_log_price = 0.6;

/* Streams keep draws for different purposes independent. */
enum stream { S_ITEM = 1, S_INTERACTION, S_COUNTRY, S_USER, S_SESSION, S_ROW };

/* SplitMix64's finaliser (Steele, Lea, Flood 2014) over a combined counter. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double uniform(const struct world *w, enum stream stream, uint64_t index, uint64_t draw)
{
    uint64_t bits = mix(mix(mix(w->seed ^ ((uint64_t)stream << 56)) ^ index) ^ draw);
    return ((double)(bits >> 11) + 0.5) * 0x1p-53;
}

/* Box-Muller; uses draws 2·draw and 2·draw+1. */
static double normal(const struct world *w, enum stream stream, uint64_t index, uint64_t draw)
{
    double u = uniform(w, stream, index, 2 * draw), v = uniform(w, stream, index, 2 * draw + 1);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static int pick(const double *cumulative, int n, double u)
{
    int low = 0, high = n - 1;
    while (low < high) {
        int mid = (low + high) / 2;
        if (u < cumulative[mid])
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* weights 1/(i+1)^power, normalised and summed up. */
static void zipf(double *cumulative, int n, double power)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        cumulative[i] = sum += pow(i + 1, -power);
    for (int i = 0; i < n; i++)
        cumulative[i] /= sum;
}

void world_init(struct world *w, uint64_t seed)
{
    w->seed = seed;
    for (int i = 0; i < WORLD_ITEMS; i++) {
        w->item_effect[i] = 0.3 * normal(w, S_ITEM, (uint64_t)i, 0);
        w->item_log_price[i] = mean_log_price + sd_log_price * normal(w, S_ITEM, (uint64_t)i, 1);
        w->item_category[i] = (int)(uniform(w, S_ITEM, (uint64_t)i, 9) * WORLD_CATEGORIES);
    }
    zipf(w->item_cumulative, WORLD_ITEMS, 0.7);
    for (int s = 0; s < WORLD_SEGMENTS; s++)
        for (int c = 0; c < WORLD_CATEGORIES; c++)
            w->interaction[s][c] = 0.9 * normal(w, S_INTERACTION, (uint64_t)(s * WORLD_CATEGORIES + c), 0);
    for (int c = 0; c < WORLD_COUNTRIES; c++)
        w->country_effect[c] = 0.2 * normal(w, S_COUNTRY, (uint64_t)c, 0);
    zipf(w->country_cumulative, WORLD_COUNTRIES, 0.5);
}

static int distinct_item(const struct world *w, int64_t session, const struct world_row *rows, int n,
                         uint64_t *draw)
{
    for (;;) {
        int item =
            pick(w->item_cumulative, WORLD_ITEMS, uniform(w, S_ROW, (uint64_t)session, 100 + (*draw)++));
        bool seen = false;
        for (int i = 0; i < n; i++)
            seen |= rows[i].item == item;
        if (!seen)
            return item;
    }
}

void world_session(const struct world *w, int64_t session, int64_t day_start_us,
                   struct world_row ret[WORLD_SESSION_ROWS])
{
    uint64_t s = (uint64_t)session;
    int64_t user = (int64_t)(uniform(w, S_SESSION, s, 0) * WORLD_USERS);
    uint64_t u = (uint64_t)user;
    int segment = (int)(uniform(w, S_USER, u, 0) * WORLD_SEGMENTS);
    int country = pick(w->country_cumulative, WORLD_COUNTRIES, uniform(w, S_USER, u, 1));
    double user_effect = 0.1 * normal(w, S_USER, u, 5);
    int device = pick(device_cumulative, WORLD_DEVICES, uniform(w, S_SESSION, s, 1));
    int64_t second_of_day = (int64_t)(uniform(w, S_SESSION, s, 2) * 86400);
    double sine = 0.2 * sin(2 * M_PI * (double)second_of_day / 86400);
    uint64_t draw = 0;
    for (int i = 0; i < WORLD_SESSION_ROWS; i++) {
        int item = distinct_item(w, session, ret, i, &draw);
        double jitter = 0.9 + 0.2 * uniform(w, S_ROW, s, (uint64_t)(10 + i));
        double price = round(exp(w->item_log_price[item]) * jitter * 100) / 100;
        double z = (log(price) - mean_log_price) / sd_log_price;
        int category = w->item_category[item];
        double relevance = -1.2 + w->item_effect[item] + w->interaction[segment][category] +
                           device_slope[device] * tanh(z) + w->country_effect[country] + sine + user_effect;
        double probability = 1 / (1 + exp(-relevance)) / (1 + 0.15 * i);
        ret[i] = (struct world_row){
            .session = session,
            .user = user,
            .item = item,
            .category = category,
            .segment = segment,
            .device = device,
            .country = country,
            .position = i + 1,
            .price = price,
            .time_us = day_start_us + second_of_day * 1000000,
            .clicked = uniform(w, S_ROW, s, (uint64_t)(30 + i)) < probability,
            .relevance = relevance,
            .probability = probability,
        };
    }
}
