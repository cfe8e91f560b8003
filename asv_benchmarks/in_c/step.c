/* A training epoch of a network with one hidden layer, for one machine and one shape, by hand.

   H = max(X W1 + b1, 0),  Z = H W2 + b2,  softmax, cross-entropy, SGD; float32, one thread.

   The compiler is given N_IN, N_HIDDEN, N_OUT and BATCH, so that every loop has a constant length,
   and -mavx2 -mfma or -mavx512f.  What makes it fast:

   - A tile of ROWS x 2 vectors of a product stays in registers while its inner loop runs.
   - No gather: rows of the batch are read through pointers, in the order of the shuffled epoch.
   - W2 and Z are held transposed.  Vectors then run along the hidden units or along the rows of the
     batch, which fill them; ten classes would not.
   - Scores, softmax and its gradient never leave the registers.
   - The learning rate and the mean over the batch are factors of dZ, so that the products of the
     gradient start from the weights and subtract: no gradient of a weight is stored.               */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

/* --- vectors ------------------------------------------------------------------------------------ */

#ifdef __AVX512F__
#define LANES 16
#define ROWS 8            /* 16 sums, 2 vectors of the right operand: 32 registers hold more */
#define CLASSES N_OUT     /* classes of dW2 at once, 2 sums each */
typedef __m512 vec;
typedef __m512i ints;
#define V(name) _mm512_##name
#define MAX_WHERE_POSITIVE(h, x) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(h, ZERO, _CMP_GT_OQ), x)
#define WHERE_EQUAL(a, b, x) _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(a, b), x)
#define BITS_TO_FLOATS _mm512_castsi512_ps
#define LOAD_INTS(p) _mm512_loadu_si512(p)
#else
#define LANES 8
#define ROWS 4            /* 8 sums, 2 vectors of the right operand: 16 registers */
#define CLASSES (N_OUT / 2)
typedef __m256 vec;
typedef __m256i ints;
#define V(name) _mm256_##name
#define MAX_WHERE_POSITIVE(h, x) _mm256_and_ps(_mm256_cmp_ps(h, ZERO, _CMP_GT_OQ), x)
#define WHERE_EQUAL(a, b, x) _mm256_and_ps(BITS_TO_FLOATS(_mm256_cmpeq_epi32(a, b)), x)
#define BITS_TO_FLOATS _mm256_castsi256_ps
#define LOAD_INTS(p) _mm256_loadu_si256((const ints *)(p))
#endif

#define ZERO V(setzero_ps)()
#define ALL(number) V(set1_ps)(number)
#define LOAD(pointer) V(loadu_ps)(pointer)
#define STORE(pointer, value) V(storeu_ps)(pointer, value)
#define FMA(a, b, c) V(fmadd_ps)(a, b, c)   /* a b + c */
#define FNMA(a, b, c) V(fnmadd_ps)(a, b, c) /* c - a b */
#define UNROLL _Pragma("GCC unroll 16")     /* so that arrays of vectors are registers */
#define ALIGNED __attribute__((aligned(64)))

#define PANEL (2 * LANES) /* columns of a tile */
#ifndef DEPTH
#define DEPTH 256         /* terms of the first product whose panel of W1 stays in level 1 */
#endif

_Static_assert(N_HIDDEN % PANEL == 0 && N_IN % ROWS == 0, "no remainders: choose other widths");
_Static_assert(BATCH % LANES == 0 && N_OUT % CLASSES == 0, "no remainders: choose another batch");
_Static_assert(BATCH / LANES <= 32, "the product of that many sums overflows, see softmax");

/* --- memory: the caller's parameters, one after the other, and a workspace ------------------------ */

typedef struct {
    float w1[N_IN][N_HIDDEN], b1[N_HIDDEN], w2[N_OUT][N_HIDDEN], b2[N_OUT];
} network;

static float hidden[BATCH][N_HIDDEN] ALIGNED, dhidden[BATCH][N_HIDDEN] ALIGNED;
static float dscores[N_OUT][BATCH] ALIGNED;
static const float *rows[BATCH];
static int32_t labels[BATCH] ALIGNED;

/* --- forward -------------------------------------------------------------------------------------- */

static void forward(const network *net)
{
    for (long begin = 0; begin < N_IN; begin += DEPTH) {
        long end = begin + DEPTH < N_IN ? begin + DEPTH : N_IN;
        for (long j = 0; j < N_HIDDEN; j += PANEL)
            for (long r = 0; r < BATCH; r += ROWS) {
                vec sum[ROWS][2];
                UNROLL for (int i = 0; i < ROWS; i++) {
                    const float *from = begin ? hidden[r + i] : net->b1;
                    sum[i][0] = LOAD(from + j);
                    sum[i][1] = LOAD(from + j + LANES);
                }
                for (long k = begin; k < end; k++) {
                    vec w0 = LOAD(&net->w1[k][j]), w1 = LOAD(&net->w1[k][j + LANES]);
                    UNROLL for (int i = 0; i < ROWS; i++) {
                        vec x = ALL(rows[r + i][k]);
                        sum[i][0] = FMA(x, w0, sum[i][0]);
                        sum[i][1] = FMA(x, w1, sum[i][1]);
                    }
                }
                vec least = end == N_IN ? ZERO : ALL(-INFINITY);
                UNROLL for (int i = 0; i < ROWS; i++) {
                    STORE(&hidden[r + i][j], V(max_ps)(sum[i][0], least));
                    STORE(&hidden[r + i][j + LANES], V(max_ps)(sum[i][1], least));
                }
            }
    }
}

/* LANES rows of LANES numbers, transposed in registers. */
static inline void transpose(vec t[LANES])
{
    vec s[LANES];
    UNROLL for (int i = 0; i < LANES; i += 2) {
        s[i] = V(unpacklo_ps)(t[i], t[i + 1]);
        s[i + 1] = V(unpackhi_ps)(t[i], t[i + 1]);
    }
    UNROLL for (int i = 0; i < LANES; i += 4) {
        t[i] = V(shuffle_ps)(s[i], s[i + 2], 0x44);
        t[i + 1] = V(shuffle_ps)(s[i], s[i + 2], 0xee);
        t[i + 2] = V(shuffle_ps)(s[i + 1], s[i + 3], 0x44);
        t[i + 3] = V(shuffle_ps)(s[i + 1], s[i + 3], 0xee);
    }
#ifdef __AVX512F__
    UNROLL for (int i = 0; i < 4; i++) {
        s[i] = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        s[i + 4] = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        s[i + 8] = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        s[i + 12] = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
    }
    UNROLL for (int i = 0; i < 8; i++) {
        t[i] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0x88);
        t[i + 8] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0xdd);
    }
#else
    UNROLL for (int i = 0; i < 4; i++) {
        s[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        s[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
    UNROLL for (int i = 0; i < LANES; i++) t[i] = s[i];
#endif
}

/* 2^n by its bits, times the polynomial of Cephes' expf; x is at most 0. */
static inline vec exp_of(vec x)
{
    x = V(max_ps)(x, ALL(-87.0f));
    ints n = V(cvtps_epi32)(V(mul_ps)(x, ALL(1.4426950408889634f)));
    vec r = FNMA(V(cvtepi32_ps)(n), ALL(0.6931471805599453f), x);
    vec p = FMA(ALL(1.9875691500e-4f), r, ALL(1.3981999507e-3f));
    p = FMA(p, r, ALL(8.3334519073e-3f));
    p = FMA(p, r, ALL(4.1665795894e-2f));
    p = FMA(p, r, ALL(1.6666665459e-1f));
    p = FMA(p, r, ALL(5.0000001201e-1f));
    p = FMA(p, V(mul_ps)(r, r), V(add_ps)(r, ALL(1.0f)));
    ints power = V(slli_epi32)(V(add_epi32)(n, V(set1_epi32)(127)), 23);
    return V(mul_ps)(p, BITS_TO_FLOATS(power));
}

static inline float sum_of(vec x)
{
    float each[LANES] ALIGNED, sum = 0;
    STORE(each, x);
    for (int i = 0; i < LANES; i++) sum += each[i];
    return sum;
}

/* dZ = rate / BATCH (softmax(H W2 + b2) - Y), transposed; b2 -= its sums.  Returns the mean loss. */
static double softmax(network *net, float rate)
{
    vec product = ALL(1.0f), at_labels = ZERO, moves[N_OUT], z[N_OUT];
    UNROLL for (int c = 0; c < N_OUT; c++) moves[c] = ZERO;
    for (long r = 0; r < BATCH; r += LANES) {
        UNROLL for (int c = 0; c < N_OUT; c++) z[c] = ALL(net->b2[c]);
        for (long j = 0; j < N_HIDDEN; j += LANES) {
            vec h[LANES];
            UNROLL for (int i = 0; i < LANES; i++) h[i] = LOAD(&hidden[r + i][j]);
            transpose(h);
            UNROLL for (int i = 0; i < LANES; i++)
                UNROLL for (int c = 0; c < N_OUT; c++)
                    z[c] = FMA(h[i], ALL(net->w2[c][j + i]), z[c]);
        }
        vec most = z[0], total = ZERO;
        ints label = LOAD_INTS(&labels[r]);
        UNROLL for (int c = 1; c < N_OUT; c++) most = V(max_ps)(most, z[c]);
        UNROLL for (int c = 0; c < N_OUT; c++) {
            z[c] = V(sub_ps)(z[c], most);
            at_labels = V(add_ps)(at_labels, WHERE_EQUAL(label, V(set1_epi32)(c), z[c]));
            z[c] = exp_of(z[c]);
            total = V(add_ps)(total, z[c]);
        }
        product = V(mul_ps)(product, total); /* the logarithm of all is taken once */
        vec share = ALL(rate / BATCH), factor = V(div_ps)(share, total);
        UNROLL for (int c = 0; c < N_OUT; c++) {
            vec one = WHERE_EQUAL(label, V(set1_epi32)(c), share);
            vec dz = V(fmsub_ps)(z[c], factor, one);
            STORE(&dscores[c][r], dz);
            moves[c] = V(add_ps)(moves[c], dz);
        }
    }
    float each[LANES] ALIGNED;
    double all = 1.0;
    STORE(each, product);
    UNROLL for (int i = 0; i < LANES; i++) all *= each[i];
    UNROLL for (int c = 0; c < N_OUT; c++) net->b2[c] -= sum_of(moves[c]);
    return (log(all) - sum_of(at_labels)) / BATCH;
}

/* --- backward ------------------------------------------------------------------------------------- */

/* dH = dZ W2^T where H > 0, else 0; b1 -= its sums. */
static void backward_hidden(network *net)
{
    for (long j = 0; j < N_HIDDEN; j += PANEL) {
        vec b0 = LOAD(&net->b1[j]), b1 = LOAD(&net->b1[j + LANES]);
        for (long r = 0; r < BATCH; r += ROWS) {
            vec sum[ROWS][2];
            UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = ZERO;
            for (int c = 0; c < N_OUT; c++) {
                vec w0 = LOAD(&net->w2[c][j]), w1 = LOAD(&net->w2[c][j + LANES]);
                UNROLL for (int i = 0; i < ROWS; i++) {
                    vec dz = ALL(dscores[c][r + i]);
                    sum[i][0] = FMA(dz, w0, sum[i][0]);
                    sum[i][1] = FMA(dz, w1, sum[i][1]);
                }
            }
            UNROLL for (int i = 0; i < ROWS; i++) {
                vec d0 = MAX_WHERE_POSITIVE(LOAD(&hidden[r + i][j]), sum[i][0]);
                vec d1 = MAX_WHERE_POSITIVE(LOAD(&hidden[r + i][j + LANES]), sum[i][1]);
                STORE(&dhidden[r + i][j], d0);
                STORE(&dhidden[r + i][j + LANES], d1);
                b0 = V(sub_ps)(b0, d0);
                b1 = V(sub_ps)(b1, d1);
            }
        }
        STORE(&net->b1[j], b0);
        STORE(&net->b1[j + LANES], b1);
    }
}

/* W2^T -= dZ^T H. */
static void move_last(network *net)
{
    for (long j = 0; j < N_HIDDEN; j += PANEL)
        for (int first = 0; first < N_OUT; first += CLASSES) {
            vec sum[CLASSES][2];
            UNROLL for (int c = 0; c < CLASSES; c++) {
                sum[c][0] = LOAD(&net->w2[first + c][j]);
                sum[c][1] = LOAD(&net->w2[first + c][j + LANES]);
            }
            for (long r = 0; r < BATCH; r++) {
                vec h0 = LOAD(&hidden[r][j]), h1 = LOAD(&hidden[r][j + LANES]);
                UNROLL for (int c = 0; c < CLASSES; c++) {
                    vec dz = ALL(dscores[first + c][r]);
                    sum[c][0] = FNMA(dz, h0, sum[c][0]);
                    sum[c][1] = FNMA(dz, h1, sum[c][1]);
                }
            }
            UNROLL for (int c = 0; c < CLASSES; c++) {
                STORE(&net->w2[first + c][j], sum[c][0]);
                STORE(&net->w2[first + c][j + LANES], sum[c][1]);
            }
        }
}

/* W1 -= X^T dH. */
static void move_first(network *net)
{
    for (long j = 0; j < N_HIDDEN; j += PANEL)
        for (long k = 0; k < N_IN; k += ROWS) {
            vec sum[ROWS][2];
            UNROLL for (int i = 0; i < ROWS; i++) {
                sum[i][0] = LOAD(&net->w1[k + i][j]);
                sum[i][1] = LOAD(&net->w1[k + i][j + LANES]);
            }
            for (long r = 0; r < BATCH; r++) {
                const float *x = rows[r] + k;
                vec d0 = LOAD(&dhidden[r][j]), d1 = LOAD(&dhidden[r][j + LANES]);
                UNROLL for (int i = 0; i < ROWS; i++) {
                    sum[i][0] = FNMA(ALL(x[i]), d0, sum[i][0]);
                    sum[i][1] = FNMA(ALL(x[i]), d1, sum[i][1]);
                }
            }
            UNROLL for (int i = 0; i < ROWS; i++) {
                STORE(&net->w1[k + i][j], sum[i][0]);
                STORE(&net->w1[k + i][j + LANES], sum[i][1]);
            }
        }
}

/* --- epochs --------------------------------------------------------------------------------------- */

/* Fisher and Yates' shuffle by a multiplicative generator, 64 bits of which 32 are used. */
static void shuffle(int32_t *order, long count, uint64_t *state)
{
    for (long left = count - 1; left > 0; left--) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        long other = (long)(((*state >> 32) * (uint64_t)(left + 1)) >> 32);
        int32_t moved = order[left];
        order[left] = order[other];
        order[other] = moved;
    }
}

/* Epochs of whole batches over x (count, N_IN), shuffled unless state is null.  Returns the mean of
   the last epoch's losses. */
double train(const float *x, const int64_t *y, long count, int32_t *order, network *net,
             float rate, uint64_t *state, long epochs)
{
    double loss = 0;
    for (long epoch = 0; epoch < epochs; epoch++) {
        if (state) shuffle(order, count, state);
        loss = 0;
        for (long start = 0; start + BATCH <= count; start += BATCH) {
            for (long r = 0; r < BATCH; r++) {
                long row = order[start + r];
                rows[r] = x + row * N_IN;
                labels[r] = (int32_t)y[row];
            }
            forward(net);
            loss += softmax(net, rate);
            backward_hidden(net);
            move_last(net);
            move_first(net);
        }
        loss /= count / BATCH;
    }
    return loss;
}
