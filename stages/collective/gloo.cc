// The shim over Gloo: see gloo.h. The only C++ beside the CUDA back end; no exception leaves it.
extern "C" {
#include "common/base/err.h"
}
#include "stages/collective/gloo.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <pthread.h>

#include <gloo/allreduce.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

namespace
{

// Gloo's key-value store over our connection to rank 0.
class RendezvousStore : public gloo::rendezvous::Store
{
  public:
    RendezvousStore(struct rendezvous *r, std::chrono::milliseconds timeout)
        : rendezvous_(r), timeout_(timeout)
    {
    }

    void set(const std::string &key, const std::vector<char> &data) override
    {
        struct err err = {};
        if (rendezvous_set(rendezvous_, name(key).c_str(), data.data(), data.size(), &err) < 0)
            throw std::runtime_error(err.msg);
    }

    std::vector<char> get(const std::string &key) override { return fetch(key, timeout_); }

    void wait(const std::vector<std::string> &keys) override { wait(keys, timeout_); }

    void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) override
    {
        for (const auto &key : keys)
            fetch(key, timeout);
    }

  private:
    static std::string name(const std::string &key) { return "gloo/" + key; }

    std::vector<char> fetch(const std::string &key, std::chrono::milliseconds timeout)
    {
        struct err err = {};
        char *value = nullptr;
        size_t len = 0;
        if (rendezvous_get(rendezvous_, name(key).c_str(), timeout.count(), &value, &len, &err) < 0)
            throw std::runtime_error(err.msg);
        std::vector<char> result(value, value + len);
        std::free(value);
        return result;
    }

    struct rendezvous *rendezvous_;
    std::chrono::milliseconds timeout_;
};

int failed(const char *what, const char *detail, struct err *err)
{
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost", "%s: a worker is gone or silent: %s",
                    what, detail);
}

// Gloo writes to sockets whose other end may be gone. While one of these lives, SIGPIPE is blocked in this thread
// and in those that Gloo starts meanwhile.
class NoSigpipe
{
  public:
    NoSigpipe()
    {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe, &before_);
        sigset_t pending;
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    }

    ~NoSigpipe()
    {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        const struct timespec now = {};
        if (!was_pending_)
            while (sigtimedwait(&pipe, nullptr, &now) > 0) {
            }
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

    NoSigpipe(const NoSigpipe &) = delete;
    NoSigpipe &operator=(const NoSigpipe &) = delete;

  private:
    sigset_t before_{};
    bool was_pending_ = false;
};

// Gloo's own order of addition depends only on sizes and ranks; ours on the elements.
void add(void *out, const void *a, const void *b, size_t n)
{
    auto *x = static_cast<float *>(out);
    const auto *y = static_cast<const float *>(a);
    const auto *z = static_cast<const float *>(b);
    for (size_t i = 0; i < n; i++)
        x[i] = y[i] + z[i];
}

} // namespace

struct gloo_ring {
    std::shared_ptr<gloo::transport::Device> device;
    std::shared_ptr<gloo::rendezvous::Context> context;
    std::chrono::milliseconds timeout{};
};

extern "C" int gloo_ring_open(const struct collective_options *o, struct rendezvous *r,
                              struct gloo_ring **ret, struct err *err)
{
    NoSigpipe guard;
    try {
        auto g = std::make_unique<gloo_ring>();
        g->timeout = std::chrono::milliseconds(o->timeout_ms ? o->timeout_ms : 10000);
        gloo::transport::tcp::attr attr;
        attr.hostname = rendezvous_address(r);
        g->device = gloo::transport::tcp::CreateDevice(attr);
        g->context = std::make_shared<gloo::rendezvous::Context>(o->rank, o->size);
        g->context->setTimeout(g->timeout);
        RendezvousStore store(r, 3 * g->timeout);
        g->context->connectFullMesh(store, g->device);
        *ret = g.release();
        return 0;
    } catch (const std::exception &e) {
        return failed("connecting workers for sums", e.what(), err);
    } catch (...) {
        return failed("connecting workers for sums", "unknown exception", err);
    }
}

extern "C" void gloo_ring_free(struct gloo_ring *g)
{
    NoSigpipe guard;
    try {
        delete g;
    } catch (...) { // a peer that left first is no news
    }
}

extern "C" int gloo_ring_sum(struct gloo_ring *g, float *data, size_t n, struct err *err)
{
    NoSigpipe guard;
    try {
        gloo::AllreduceOptions options(g->context);
        options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
        options.setOutput(data, n);
        options.setReduceFunction(add);
        options.setTimeout(g->timeout);
        gloo::allreduce(options);
        return 0;
    } catch (const std::exception &e) {
        return failed("summing gradients", e.what(), err);
    } catch (...) {
        return failed("summing gradients", "unknown exception", err);
    }
}
