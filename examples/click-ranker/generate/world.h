/* The click-ranker's ground truth: who the users and items are, what a row looks like, and the
 * true probability of a click. A pure function of the seed, so that the best possible AUC and
 * NDCG are known and every file can be made again.
 *
 * Relevance logit = -1.2 + item (sd 0.3) + segment × category (sd 0.9) + device slope × tanh(price z)
 *                 + country (sd 0.2) + daily sine (0.2) + user (sd 0.1);
 * P(click) = σ(logit) / (1 + 0.15 · (position - 1)). Items are shown with Zipf(0.7) popularity. */
#pragma once

#include <stdint.h>

enum {
    WORLD_USERS = 100000,
    WORLD_ITEMS = 1000,
    WORLD_CATEGORIES = 20,
    WORLD_SEGMENTS = 6,
    WORLD_DEVICES = 4,
    WORLD_COUNTRIES = 12,
    WORLD_SESSION_ROWS = 10,
};

struct world {
    uint64_t seed;
    double item_effect[WORLD_ITEMS], item_log_price[WORLD_ITEMS], item_cumulative[WORLD_ITEMS];
    int item_category[WORLD_ITEMS];
    double interaction[WORLD_SEGMENTS][WORLD_CATEGORIES];
    double country_effect[WORLD_COUNTRIES], country_cumulative[WORLD_COUNTRIES];
};

extern const char *const world_segments[WORLD_SEGMENTS];
extern const char *const world_devices[WORLD_DEVICES];
extern const char *const world_countries[WORLD_COUNTRIES];

void world_init(struct world *w, uint64_t seed);

struct world_row {
    int64_t session, user, item;
    int category, segment, device, country; /* indexes into the name tables; category c00…c19 */
    int position;                           /* 1…10 */
    double price;
    int64_t time_us; /* since 1970 UTC */
    int clicked;
    double relevance;   /* true logit, not written */
    double probability; /* of this row's click, not written */
};
/* The ten rows of session `session` within the day that starts at day_start_us. Items are distinct. */
void world_session(const struct world *w, int64_t session, int64_t day_start_us,
                   struct world_row ret[WORLD_SESSION_ROWS]);
