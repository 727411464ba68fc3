/* AdamW from C, over the program's own memory: minimizes the sum of (p - 3)^2.
 *
 *   cmake -S . -B build/c -DFASTOPT_PYTHON=OFF && cmake --build build/c
 *   cc -Iinclude examples/adamw.c build/c/libfastopt.a -lstdc++ -lm -pthread -o build/adamw && build/adamw
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fastopt.h"

enum { N = 1000000, STEPS = 500 };

int main(void) {
  float *p = calloc(N, sizeof *p), *g = malloc(N * sizeof *g);
  float *exp_avg = calloc(N, sizeof *p), *exp_avg_sq = calloc(N, sizeof *p);
  if (!p || !g || !exp_avg || !exp_avg_sq) return 1;

  fastopt_group group = {0};
  group.rule = fastopt_find_rule("adam");
  group.lr = 0.1;
  group.decoupled_weight_decay = 1;
  group.hyperparameters[0] = 0.9;   /* beta1, as in fastopt_rule_at(group.rule)->hyperparameters */
  group.hyperparameters[1] = 0.999; /* beta2 */
  group.hyperparameters[2] = 1e-8;  /* eps; the flags after it stay 0 */

  fastopt_tensor tensor = {0};
  tensor.param = p;
  tensor.grad = g;
  tensor.state[0] = exp_avg;
  tensor.state[1] = exp_avg_sq;
  tensor.length = N;
  tensor.dtype = FASTOPT_FLOAT32;

  /* Each structure carries its size, so that this program works with later versions of the library. */
  const fastopt_plan plan = {.size = sizeof plan,
                             .tensors = &tensor,
                             .tensor_count = 1,
                             .tensor_size = sizeof tensor,
                             .groups = &group,
                             .group_count = 1,
                             .group_size = sizeof group};
  const fastopt_options options = {.size = sizeof options, .grad_scale = 1.0}; /* the other stages are off */
  for (int step = 0; step < STEPS; ++step) {
    for (int i = 0; i < N; ++i) g[i] = 2 * (p[i] - 3);
    const fastopt_status status = fastopt_step(&plan, &options, NULL);
    if (status != FASTOPT_OK) {
      fprintf(stderr, "%s\n", fastopt_status_message(status));
      return 1;
    }
  }
  printf("%.4f after %lld steps on %s\n", p[N - 1], (long long)tensor.steps, fastopt_isa_last_run());
  return fabsf(p[N - 1] - 3) < 1e-2f ? 0 : 1;
}
