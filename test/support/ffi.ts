import { NO_FFI_VARIABLE } from '../../src/platform/ffi.ts';

/** False where the tests are to show what the program does without system libraries. */
export const HAS_FFI = !process.env[NO_FFI_VARIABLE];
