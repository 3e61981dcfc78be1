import * as ops from '@topk-attention/core';
import { type Backend, pullback, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ConformanceCase } from '../../../harness/case.js';
import { checkClose, checkShape, gradientTolerance } from '../../../harness/support/assert.js';
import type { Nd } from '../../../harness/support/nd.js';
import { encode } from '../../../harness/support/workbench.js';

export type Tensors = Readonly<Record<string, Tensor>>;
/** What is called, on inputs by name. */
export type Step = (xs: Tensors) => Tensor;

/** Inputs are f32 unless their name says otherwise. */
const dtypeOf = (name: string): 'f32' | 'i32' | 'bool' =>
  name.startsWith('indices') || name.startsWith('lengths') ? 'i32' : name.startsWith('mask') ? 'bool' : 'f32';

function uploaded(backend: Backend, inputs: Readonly<Record<string, Nd>>): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, x]) => {
      const dtype = dtypeOf(name);
      return [name, tensor(backend, encode(x.data, dtype), x.shape, dtype)];
    }),
  );
}

interface Outcome {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

async function outcomeOf(step: Step, xs: Tensors): Promise<Outcome> {
  const made = scope(() => step(xs));
  const { shape } = made;
  const values = [...(await made.data())];
  made.dispose();
  return { shape, values };
}

/** What a step gives when nothing came before it. */
async function alone(step: Step, inputs: Readonly<Record<string, Nd>>): Promise<Outcome> {
  const backend = createReferenceBackend({ floatStorage: 'f64' });
  const made = await outcomeOf(step, uploaded(backend, inputs));
  await backend.dispose();
  return made;
}

/**
 * Places where something computed, compiled, packed or looked up is reused for a call that needs something else. All
 * steps work on the same tensors, one after the other and then once more; each is compared with what it gives alone.
 */
export function reuse(
  name: string,
  inputs: Readonly<Record<string, Nd>>,
  steps: Readonly<Record<string, Step>>,
): ConformanceCase {
  return {
    name: `trap: ${name}`,
    group: 'engine traps',
    async run({ backend, tolerance }) {
      const allowed = gradientTolerance(tolerance);
      const expected = new Map<string, Outcome>();
      for (const [label, step] of Object.entries(steps)) expected.set(label, await alone(step, inputs));
      const xs = uploaded(backend, inputs);
      for (const round of ['first', 'second']) {
        for (const [label, step] of Object.entries(steps)) {
          const got = await outcomeOf(step, xs);
          const wanted = expected.get(label) as Outcome;
          checkShape(`${label}, ${round} time`, got.shape, wanted.shape);
          checkClose(`${label}, ${round} time`, got.values, wanted.values, allowed);
        }
      }
      for (const one of Object.values(xs)) one.dispose();
    },
  };
}

/** The gradients of a function for all inputs, concatenated into one vector. */
export const gradientsOf =
  (f: Step): Step =>
  (xs) => {
    const pulled = pullback(f, xs as Record<string, Tensor>);
    const upstream = ops.fill(pulled.output.backend, 1, pulled.output.shape);
    const made = Object.values(pulled.backward(upstream) as Record<string, Tensor>);
    pulled.dispose();
    return ops.concat(
      made.map((one) => ops.reshape(one, [-1])),
      0,
    );
  };
