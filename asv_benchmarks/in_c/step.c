/* A training epoch of a network with one hidden layer, for one machine and one shape, by hand.

   H = max(X W1 + b1, 0),  Z = H W2 + b2,  softmax, cross-entropy, SGD; float32, one thread.

   The compiler is given N_IN, N_HIDDEN, N_OUT and BATCH, so that every loop has a constant length,
   and -mavx2 -mfma or -mavx512f.  What makes it fast:

   - A tile of ROWS x 2 vectors of a product stays in registers while its inner loop runs.
   - Rows of the batch are read through pointers, in the order of the shuffled epoch: no gather.
   - What has a column for each hidden unit is held in panels as wide as a tile, each contiguous.
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
#define WHERE_POSITIVE(h, x) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(h, ZERO, _CMP_GT_OQ), x)
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
#define WHERE_POSITIVE(h, x) _mm256_and_ps(_mm256_cmp_ps(h, ZERO, _CMP_GT_OQ), x)
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
#define ALIGNED __attribute__((aligned(64)))
#define LINE 16                             /* numbers in a cache line */

#ifdef __clang__ /* loops are unrolled so that arrays of vectors are registers */
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define PANEL (2 * LANES) /* columns of a tile */
#define PANELS (N_HIDDEN / PANEL)

_Static_assert(N_HIDDEN % PANEL == 0 && N_IN % LINE == 0, "no remainders: choose other widths");
_Static_assert(BATCH % LANES == 0 && N_OUT % CLASSES == 0, "no remainders: choose another batch");
_Static_assert(BATCH <= 128 && N_OUT <= 16, "the product of that many sums overflows, see softmax");

/* --- memory --------------------------------------------------------------------------------------- */

static float w1[PANELS][N_IN][PANEL] ALIGNED, b1[PANELS][PANEL] ALIGNED;
static float w2[PANELS][N_OUT][PANEL] ALIGNED, b2[N_OUT];
static float hidden[PANELS][BATCH][PANEL] ALIGNED, dhidden[PANELS][BATCH][PANEL] ALIGNED;
static float dscores[N_OUT][BATCH] ALIGNED, lines[BATCH][LINE] ALIGNED;
static const float *rows[BATCH];
static int32_t labels[BATCH] ALIGNED;

/* Copy parameters: weights (n_in, n_out) and biases of both layers. */
void set(const float *weights1, const float *biases1, const float *weights2, const float *biases2)
{
    for (long j = 0; j < N_HIDDEN; j++) {
        for (long k = 0; k < N_IN; k++) w1[j / PANEL][k][j % PANEL] = weights1[k * N_HIDDEN + j];
        for (long c = 0; c < N_OUT; c++) w2[j / PANEL][c][j % PANEL] = weights2[j * N_OUT + c];
        b1[j / PANEL][j % PANEL] = biases1[j];
    }
    for (long c = 0; c < N_OUT; c++) b2[c] = biases2[c];
}

/* --- forward -------------------------------------------------------------------------------------- */

/* H = max(X W1 + b1, 0). */
static void forward(void)
{
    for (long p = 0; p < PANELS; p++)
        for (long r = 0; r < BATCH; r += ROWS) {
            vec sum[ROWS][2];
            UNROLL for (int i = 0; i < ROWS; i++) {
                sum[i][0] = LOAD(b1[p]);
                sum[i][1] = LOAD(b1[p] + LANES);
            }
            for (long k = 0; k < N_IN; k++) {
                vec left = LOAD(w1[p][k]), right = LOAD(w1[p][k] + LANES);
                UNROLL for (int i = 0; i < ROWS; i++) {
                    vec x = ALL(rows[r + i][k]);
                    sum[i][0] = FMA(x, left, sum[i][0]);
                    sum[i][1] = FMA(x, right, sum[i][1]);
                }
            }
            UNROLL for (int i = 0; i < ROWS; i++) {
                STORE(hidden[p][r + i], V(max_ps)(sum[i][0], ZERO));
                STORE(hidden[p][r + i] + LANES, V(max_ps)(sum[i][1], ZERO));
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
static double softmax(float rate)
{
    vec product = ALL(1.0f), at_labels = ZERO, moves[N_OUT], z[N_OUT];
    UNROLL for (int c = 0; c < N_OUT; c++) moves[c] = ZERO;
    for (long r = 0; r < BATCH; r += LANES) {
        UNROLL for (int c = 0; c < N_OUT; c++) z[c] = ALL(b2[c]);
        for (long j = 0; j < N_HIDDEN; j += LANES) {
            vec h[LANES];
            UNROLL for (int i = 0; i < LANES; i++) h[i] = LOAD(&hidden[j / PANEL][r + i][j % PANEL]);
            transpose(h);
            UNROLL for (int i = 0; i < LANES; i++)
                UNROLL for (int c = 0; c < N_OUT; c++)
                    z[c] = FMA(h[i], ALL(w2[j / PANEL][c][j % PANEL + i]), z[c]);
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
    UNROLL for (int c = 0; c < N_OUT; c++) b2[c] -= sum_of(moves[c]);
    return (log(all) - sum_of(at_labels)) / BATCH;
}

/* --- backward ------------------------------------------------------------------------------------- */

/* dH = dZ W2^T where H > 0, else 0; b1 -= its sums. */
static void backward_hidden(void)
{
    for (long p = 0; p < PANELS; p++) {
        vec biases[2] = {LOAD(b1[p]), LOAD(b1[p] + LANES)};
        for (long r = 0; r < BATCH; r += ROWS) {
            vec sum[ROWS][2];
            UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = ZERO;
            for (int c = 0; c < N_OUT; c++) {
                vec left = LOAD(w2[p][c]), right = LOAD(w2[p][c] + LANES);
                UNROLL for (int i = 0; i < ROWS; i++) {
                    vec dz = ALL(dscores[c][r + i]);
                    sum[i][0] = FMA(dz, left, sum[i][0]);
                    sum[i][1] = FMA(dz, right, sum[i][1]);
                }
            }
            UNROLL for (int i = 0; i < ROWS; i++)
                UNROLL for (int v = 0; v < 2; v++) {
                    vec h = LOAD(&hidden[p][r + i][v * LANES]);
                    vec dh = WHERE_POSITIVE(h, sum[i][v]);
                    STORE(&dhidden[p][r + i][v * LANES], dh);
                    biases[v] = V(sub_ps)(biases[v], dh);
                }
        }
        STORE(b1[p], biases[0]);
        STORE(b1[p] + LANES, biases[1]);
    }
}

/* W2^T -= dZ^T H. */
static void move_last(void)
{
    for (long p = 0; p < PANELS; p++)
        for (int first = 0; first < N_OUT; first += CLASSES) {
            vec sum[CLASSES][2];
            UNROLL for (int c = 0; c < CLASSES; c++) {
                sum[c][0] = LOAD(w2[p][first + c]);
                sum[c][1] = LOAD(w2[p][first + c] + LANES);
            }
            for (long r = 0; r < BATCH; r++) {
                vec left = LOAD(hidden[p][r]), right = LOAD(hidden[p][r] + LANES);
                UNROLL for (int c = 0; c < CLASSES; c++) {
                    vec dz = ALL(dscores[first + c][r]);
                    sum[c][0] = FNMA(dz, left, sum[c][0]);
                    sum[c][1] = FNMA(dz, right, sum[c][1]);
                }
            }
            UNROLL for (int c = 0; c < CLASSES; c++) {
                STORE(w2[p][first + c], sum[c][0]);
                STORE(w2[p][first + c] + LANES, sum[c][1]);
            }
        }
}

/* W1 -= X^T dH.  Of each row a cache line is copied before the panels read it: rows lie on pages of
   their own, more than level 1 knows the addresses of. */
static void move_first(void)
{
    for (long begin = 0; begin < N_IN; begin += LINE) {
        for (long r = 0; r < BATCH; r++)
            UNROLL for (int i = 0; i < LINE; i += LANES)
                STORE(&lines[r][i], LOAD(rows[r] + begin + i));
        for (long p = 0; p < PANELS; p++)
            for (long k = 0; k < LINE; k += ROWS) {
                vec sum[ROWS][2];
                UNROLL for (int i = 0; i < ROWS; i++) {
                    sum[i][0] = LOAD(w1[p][begin + k + i]);
                    sum[i][1] = LOAD(w1[p][begin + k + i] + LANES);
                }
                for (long r = 0; r < BATCH; r++) {
                    vec left = LOAD(dhidden[p][r]), right = LOAD(dhidden[p][r] + LANES);
                    UNROLL for (int i = 0; i < ROWS; i++) {
                        vec x = ALL(lines[r][k + i]);
                        sum[i][0] = FNMA(x, left, sum[i][0]);
                        sum[i][1] = FNMA(x, right, sum[i][1]);
                    }
                }
                UNROLL for (int i = 0; i < ROWS; i++) {
                    STORE(w1[p][begin + k + i], sum[i][0]);
                    STORE(w1[p][begin + k + i] + LANES, sum[i][1]);
                }
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
double train(const float *x, const int64_t *y, long count, int32_t *order, float rate,
             uint64_t *state, long epochs)
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
            /* Short rows are prefetched a batch ahead; long ones the CPU finds by itself. */
            if (N_IN <= 256 && start + 2 * BATCH <= count)
                for (long r = start + BATCH; r < start + 2 * BATCH; r++)
                    for (long k = 0; k < N_IN; k += LINE)
                        _mm_prefetch((const char *)(x + order[r] * (long)N_IN + k), _MM_HINT_T1);
            forward();
            loss += softmax(rate);
            backward_hidden();
            move_last();
            move_first();
        }
        loss /= count / BATCH;
    }
    return loss;
}
