// The meaning of each status, in English.
#include "fastopt.h"

extern "C" const char* fastopt_status_message(fastopt_status status) {
  switch (status) {
    case FASTOPT_OK:
      return "no error";
    case FASTOPT_BAD_RULE:
      return "there is no rule of that index";
    case FASTOPT_BAD_GROUP:
      return "a tensor names a group that the plan does not have";
    case FASTOPT_BAD_DTYPE:
      return "a tensor's dtype is unknown";
    case FASTOPT_BAD_FORMAT:
      return "an array has a storage format that there is not, or that it cannot have";
    case FASTOPT_BAD_LENGTH:
      return "a length, an offset or a count of steps is negative";
    case FASTOPT_NULL_POINTER:
      return "a parameter or state array is missing";
    case FASTOPT_BAD_RANGE:
      return "a part lies outside its tensor, cuts a block of 8-bit state, or its tensor has no gradient";
    case FASTOPT_BAD_OPTION:
      return "an option is out of its range, or a team lacks a function";
    case FASTOPT_NEEDS_ALL:
      return "max_norm and skip_nonfinite need all gradients at once";
    case FASTOPT_NO_MEMORY:
      return "too little memory for the step's bookkeeping";
    case FASTOPT_BAD_ISA:
      return "this machine cannot run that instruction set";
    case FASTOPT_BAD_THREADS:
      return "the number of threads is not in 1 to 4096";
    case FASTOPT_BAD_SIZE:
      return "a structure's size is not set";
    case FASTOPT_NEWER:
      return "a structure is longer than this library knows";
  }
  return "unknown status";
}
