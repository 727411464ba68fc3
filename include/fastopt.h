/* The door to the update kernels, and the only one: plain C, over pointers, lengths and scalars.
 *
 * A plan is what a step runs over: tensors, each with its arrays, its row of hyperparameters and its own count of
 * steps.  All memory is the caller's, state included; nothing is kept between calls.  Arrays hold contiguous elements
 * of one dtype in native byte order, aligned to the element, and may not overlap.  Every function may be called from
 * any thread; two steps at once may not share an array.
 *
 * Structures that callers fill carry their size as of the fastopt.h that the caller was compiled with, so that
 * structures can grow at their ends.  Fields that a shorter structure lacks are 0.  A structure that is longer than
 * this library knows is refused.
 *
 * The bits of a result depend on the inputs alone: not on the instruction set, the number of threads, the alignment, or
 * how a tensor is cut into parts.  (A NaN equals any NaN.)
 */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most that a rule may have of each.  All code takes its limits from here.  For a rule that needs more, raise a
 * number and compile the callers anew, since the arrays in the structures below grow. */
#define FASTOPT_MAX_SLOTS 6
#define FASTOPT_MAX_RUNNING 4
#define FASTOPT_MAX_HYPERPARAMETERS 12
#define FASTOPT_MAX_SCALARS 16
/* Elements whose squares are summed at once, and elements of a block of 8-bit state.  A tensor may lie in a longer
 * vector: if it starts at a multiple of FASTOPT_BLOCK there, with zeros up to the next multiple, its norm and its
 * blocks are the same. */
#define FASTOPT_BLOCK 256

typedef enum {
  FASTOPT_FLOAT32 = 0,
  FASTOPT_FLOAT64 = 1,
  FASTOPT_BFLOAT16 = 2, /* this and float16 are for copies only; other arrays have formats */
  FASTOPT_FLOAT16 = 3
} fastopt_dtype;

typedef enum {
  FASTOPT_OK = 0,
  FASTOPT_BAD_RULE,     /* fastopt_group.rule is no index of a rule */
  FASTOPT_BAD_GROUP,    /* fastopt_tensor.group is no row of the plan */
  FASTOPT_BAD_DTYPE,    /* fastopt_tensor.dtype is none of fastopt_dtype */
  FASTOPT_BAD_FORMAT,   /* a format does not exist, or its array cannot have it */
  FASTOPT_BAD_LENGTH,   /* a negative length, offset, or count of steps */
  FASTOPT_NULL_POINTER, /* a parameter, state array or running scalar that the rule's variant needs is missing */
  FASTOPT_BAD_RANGE,    /* a part does not lie within its tensor, or an offset or part cuts a block */
  FASTOPT_BAD_OPTION,   /* one of fastopt_options is out of its range, or a team lacks a function */
  FASTOPT_NEEDS_ALL,    /* a part of a step that needs all gradients: max_norm, skip_nonfinite, a rule with a factor */
  FASTOPT_NO_MEMORY,    /* too little memory for the step's bookkeeping */
  FASTOPT_BAD_ISA,      /* this machine cannot run that instruction set */
  FASTOPT_BAD_THREADS,  /* a number of threads below 1 or above 4096 */
  FASTOPT_BAD_SIZE,     /* a structure's size is not set, or less than any fastopt.h has had */
  FASTOPT_NEWER         /* a structure is longer than this library knows: its fastopt.h is newer */
} fastopt_status;

/* The meaning of a status, in English. */
const char* fastopt_status_message(fastopt_status status);

/* ---- Rules ------------------------------------------------------------------------------------------ */

/* What a rule does under some of its hyperparameters. */
typedef struct {
  const char* name;
  int32_t slot_count;
  const int32_t* slots; /* indices of the rule's slots; the step does not look at the others */
} fastopt_variant;

/* The kind of a slot's values, which decides on the formats that the slot may have. */
typedef enum {
  FASTOPT_SIGNED = 0,
  FASTOPT_NON_NEGATIVE = 1,
  FASTOPT_PARAMETER_LIKE = 2, /* this kind and the next have the arithmetic's own format */
  FASTOPT_FULL_PRECISION = 3
} fastopt_slot_kind;

typedef struct {
  const char* name;
  int32_t hyperparameter_count;
  const char* const* hyperparameters; /* in the order of fastopt_group.hyperparameters */
  int32_t slot_count;
  const char* const* slots;  /* in the order of fastopt_tensor.state */
  const int32_t* slot_kinds; /* fastopt_slot_kind */
  int32_t running_count;
  const char* const* running; /* in the order of fastopt_tensor.running */
  int32_t scalar_count;
  const char* const* scalars; /* in the order of fastopt_derive's output */
  int32_t variant_count;
  const fastopt_variant* variants;
} fastopt_rule;

int32_t fastopt_rule_count(void);
const fastopt_rule* fastopt_rule_at(int32_t index); /* NULL past the end */
int32_t fastopt_find_rule(const char* name);        /* -1 if none has this name */

/* ---- Storage formats -------------------------------------------------------------------------------- */

/* How elements lie in memory, if not as the arithmetic has them (docs/formats.md has the bits).  Format 0 is the
 * arithmetic's own and has no row. */
typedef struct {
  const char* name;
  int32_t size;       /* bytes of an element */
  int32_t extra_size; /* bytes beside the elements, for each extra_span of them: block words, corrections; 0 for none */
  int32_t extra_span; /* 1 or FASTOPT_BLOCK */
} fastopt_format;

const fastopt_format* fastopt_format_at(int32_t index); /* NULL for 0 and past the end */
int32_t fastopt_find_format(const char* name);          /* -1 if none has this name */

#define FASTOPT_PARAMETER_STREAM (-1)

/* The noise of stochastic rounding.  The noise of element i, from 0, is a function of these fields and offset + i. */
typedef struct {
  uint64_t seed;
  int64_t step;   /* the tensor's count with this step, from 1 */
  int64_t offset; /* fastopt_tensor's */
  int32_t stream; /* the index of a slot, or FASTOPT_PARAMETER_STREAM */
} fastopt_noise;

/* Convert float32 values from and to a format, as a step does.  Encoding rounds to nearest if `noise` is NULL. */
fastopt_status fastopt_decode(int32_t format, const void* data, const void* extra, int64_t length, float* values);
fastopt_status fastopt_encode(int32_t format, const float* values, int64_t length, const fastopt_noise* noise,
                              void* data, void* extra);

/* ---- The plan --------------------------------------------------------------------------------------- */

/* A row of hyperparameters.  Flags are 0 or 1; choices are numbered as in the table of rules. */
typedef struct {
  int32_t rule;                   /* index of fastopt_rule_at */
  int32_t maximize;               /* the gradient changes sign */
  int32_t decoupled_weight_decay; /* weight decay acts on the parameter, not on the gradient */
  double lr;
  double weight_decay;
  double l1;
  double hyperparameters[FASTOPT_MAX_HYPERPARAMETERS];
} fastopt_group;

typedef struct {
  void* param;
  void* grad;                     /* NULL: this tensor and its count stay as they are */
  void* state[FASTOPT_MAX_SLOTS]; /* 8-bit state has whole blocks of codes.  The step treats the padding behind the last
                                     element as elements with parameter and gradient 0 */
  void* param_extra;              /* the data that the formats below have beside the elements */
  void* state_extra[FASTOPT_MAX_SLOTS];
  void* ema;      /* average of the parameter, in `dtype`; NULL for none */
  void* copy;     /* takes the new parameter, rounded to copy_dtype (float64 via float32); NULL for none */
  int64_t length; /* elements */
  int64_t offset; /* global index of the first element, if the arrays are a piece of a longer vector */
  int64_t steps;  /* completed steps; fastopt_step and fastopt_count raise it */
  double running[FASTOPT_MAX_RUNNING]; /* scalars that the rule carries on with the count; any before the first step */
  int32_t dtype;        /* the arithmetic's: float32, or float64, with which only grad may have a format */
  int32_t param_format; /* indices of fastopt_format_at; 0: elements of `dtype` */
  int32_t grad_format;
  int32_t state_format[FASTOPT_MAX_SLOTS]; /* all 0, or all of one kind; 8bit needs an offset in whole blocks */
  int32_t stochastic;                      /* 1: param_format rounds stochastically, as state does; 0: to nearest */
  int32_t copy_dtype;
  int32_t group; /* row of fastopt_plan.groups */
} fastopt_tensor;

typedef struct {
  uint64_t size; /* sizeof(fastopt_plan) */
  fastopt_tensor* tensors;
  int64_t tensor_count;
  uint64_t tensor_size; /* sizeof(fastopt_tensor): from each to the next */
  const fastopt_group* groups;
  int64_t group_count;
  uint64_t group_size; /* sizeof(fastopt_group) */
  uint64_t seed;       /* for stochastic rounding */
} fastopt_plan;

/* Threads that a caller lends.  A step has the same bits on any threads. */
typedef struct {
  uint64_t size;                     /* sizeof(fastopt_team) */
  int32_t (*threads)(void* context); /* how many a step may use, its own included; below 1 counts as 1 */
  /* Calls work(argument, i) for different i from 0 to `threads` - 1, or fewer of these, each on a thread of its own,
   * and returns 1 when all calls have returned.  Thread i has the same memory to work on in each step, so on machines
   * with several memory nodes it should be the same thread.  Or calls nothing and returns 0: then the library's own
   * threads do the work, no more of them. */
  int32_t (*run)(void* context, int32_t threads, void (*work)(void* argument, int32_t thread), void* argument);
  void* context; /* the functions' first argument */
} fastopt_team;

/* The options of one step, which hold for all tensors.  The norm is that of all gradients together. */
typedef struct {
  uint64_t size;     /* sizeof(fastopt_options) */
  double grad_scale; /* multiplies every gradient first: 1 for none */
  double clip_value; /* then holds every element within [-clip_value, clip_value]: 0 for none */
  double max_norm;   /* then scales a finite norm above max_norm down to max_norm, but see norm_eps: 0 for none */
  double ema_decay;  /* ema = ema_decay*ema + (1 - ema_decay)*param, or ema = param at a tensor's first step; below 0
                        averages are left alone */
  int32_t skip_nonfinite; /* if a scaled gradient holds Inf or NaN, nothing is written but zero_grad's zeros */
  int32_t zero_grad;      /* gradients end as zeros */
  double norm_eps; /* above 0, max_norm's factor is torch's: max_norm/(norm + norm_eps) but at most 1, for norms that
                      are not finite too */
  const fastopt_team* team; /* NULL: the library's own threads */
} fastopt_options;

/* The findings of a step or a sweep. */
typedef struct {
  uint64_t size;    /* sizeof(fastopt_report), set by the caller */
  double grad_norm; /* after grad_scale and clip_value, before max_norm; -1 if no stage needed the norm */
  int32_t finite;   /* 0 if a stage found Inf or NaN in a scaled gradient; else, or if none looked, 1 */
  int32_t skipped;  /* 1 if the step was skipped */
} fastopt_report;

/* The variant of its rule that a group takes, which decides on the state arrays; -1 for a bad group.  This function and
 * fastopt_derive look at rule, lr and hyperparameters alone. */
int32_t fastopt_variant_of(const fastopt_group* group);

/* Derives the scalars of a group's step number t (from 1), in float64, from the running scalars before that step, and
 * moves these on to their next values.  `running` may be NULL if the rule has none.  For tests and others' kernels. */
fastopt_status fastopt_derive(const fastopt_group* group, int64_t t, double* running, double* scalars);

/* Makes one step of every tensor that has a gradient, then counts the step.  On an error nothing was written.  `report`
 * may be NULL. */
fastopt_status fastopt_step(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report);

/* Makes the part of that step over elements [begin, end) of one tensor, without counting it.  When every element has
 * had its part, fastopt_count ends the tensor's step.  The bits are those of fastopt_step.  A part may not cut a block
 * of 8-bit state. */
fastopt_status fastopt_step_part(const fastopt_plan* plan, const fastopt_options* options, int64_t tensor,
                                 int64_t begin, int64_t end);
fastopt_status fastopt_count(const fastopt_plan* plan, int64_t tensor);

/* Makes the sweep alone: norm and finiteness of the gradients, after grad_scale and clip_value.  It looks at the plan's
 * tensors alone, and there at grad, its format, length and dtype.  The sum over blocks is exact, so that the order of
 * tensors does not matter. */
fastopt_status fastopt_measure(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report);

/* Applies grad_scale, clip_value and max_norm to the gradients in place.  Measures them first, but only for max_norm
 * and skip_nonfinite.  With skip_nonfinite all gradients stay as they were if one is not finite. */
fastopt_status fastopt_clip(const fastopt_plan* plan, const fastopt_options* options, fastopt_report* report);

/* Runs the floor, the yardstick of benchmarks: reads and writes what a step of one tensor with the first `slot_count`
 * state arrays and these options would, on the same threads, and computes nothing worth the name.  It overwrites the
 * arrays.  An array in a format counts as bytes, and with formats no stage runs. */
fastopt_status fastopt_floor(const fastopt_plan* plan, int64_t tensor, int32_t slot_count,
                             const fastopt_options* options);

/* ---- Instruction sets and threads ------------------------------------------------------------------- */

/* Instruction sets compiled in, best first: "avx512", "avx2", "neon", "scalar"; NULL past the end. */
const char* fastopt_isa_at(int32_t index);
int32_t fastopt_isa_available(const char* name); /* 1 if compiled in and this machine runs it */
const char* fastopt_isa(void);                   /* the set that steps use; best available unless set */
fastopt_status fastopt_set_isa(const char* name);
/* The instruction set of the last kernel that ran, as named by the header that the kernel was compiled with; NULL
 * before any step. */
const char* fastopt_isa_last_run(void);

int32_t fastopt_num_threads(void); /* as set, else the processors of the affinity mask within the container's quota */
fastopt_status fastopt_set_num_threads(int32_t count);

#ifdef __cplusplus
}
#endif
#endif
