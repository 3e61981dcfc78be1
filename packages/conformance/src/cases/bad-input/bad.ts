import { type Backend, scope, type Tensor, zeros } from '@topk-attention/core';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { checkThrows } from '../../harness/support/assert.js';

export interface Tools {
  readonly backend: Backend;
  /** A tensor of zeros, disposed of after the case. */
  zeros(...shape: number[]): Tensor;
  ints(...shape: number[]): Tensor;
  bools(...shape: number[]): Tensor;
}

/** The call throws at once, with one of the codes, and leaves nothing allocated. */
export function bad(
  name: string,
  codes: string | readonly string[],
  call: (tools: Tools) => unknown,
): ConformanceCase {
  return {
    name: `bad input: ${name}`,
    group: 'bad input',
    run({ backend }: ConformanceContext) {
      scope(() => {
        const tools: Tools = {
          backend,
          zeros: (...shape) => zeros(backend, shape),
          ints: (...shape) => zeros(backend, shape, 'i32'),
          bools: (...shape) => zeros(backend, shape, 'bool'),
        };
        checkThrows(name, () => call(tools), ...(typeof codes === 'string' ? [codes] : codes));
      });
    },
  };
}
