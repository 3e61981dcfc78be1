import { type Backend, pullback, type Tensor, tensor } from '@topk-attention/core';
import { check } from './assert.js';
import type { Nd } from './nd.js';
import { decode, encode } from './workbench.js';

/** Numbers by role. */
type Numbers<Role extends string> = { readonly [name in Role]?: readonly number[] };

export interface Ran<Role extends string> {
  readonly output: readonly number[];
  readonly gradients: Numbers<Role>;
}

type Uploaded = 'f32' | 'f16' | 'i32' | 'bool';

/**
 * Runs a function of tensors on a backend: its output or, with a cotangent, also the gradients of `parameters`. Leaves
 * nothing behind.
 *
 * @param parameters inputs with gradients, stored as `storage` but for those in `single`
 */
export async function differentiate<Role extends string>(
  backend: Backend,
  parameters: { readonly [role in Role]?: Nd },
  body: (inputs: { readonly [role in Role]?: Tensor }, up: (x: Nd, dtype: Uploaded) => Tensor) => Tensor,
  cotangent?: Nd,
  storage: 'f32' | 'f16' = 'f32',
  single: readonly string[] = [],
): Promise<Ran<Role>> {
  const tensors: Tensor[] = [];
  const up = (x: Nd, dtype: Uploaded): Tensor => {
    const made = tensor(backend, encode(x.data, dtype), x.shape, dtype);
    tensors.push(made);
    return made;
  };
  const read = async (x: Tensor): Promise<number[]> => {
    tensors.push(x);
    return decode(await x.data(), x.dtype);
  };
  try {
    const given = Object.entries<Nd | undefined>(parameters).filter(
      (entry): entry is [string, Nd] => entry[1] !== undefined,
    );
    const inputs: Readonly<Record<string, Tensor>> = Object.fromEntries(
      given.map(([role, x]) => [role, up(x, single.includes(role) ? 'f32' : storage)]),
    );
    // The roles are those of the parameters: only the type of `fromEntries` forgets them.
    const run = (by: typeof inputs): Tensor => body(by as { readonly [role in Role]?: Tensor }, up);
    if (cotangent === undefined) return { output: await read(run(inputs)), gradients: {} };
    const pulled = pullback(run, inputs);
    const made = pulled.backward(up(cotangent, storage));
    const output = await read(pulled.output);
    const gradients: Record<string, readonly number[]> = {};
    for (const [role, x] of given) {
      const gradient = made[role] as Tensor;
      check(
        gradient.shape.join() === x.shape.join(),
        `the gradient of ${role} has shape [${gradient.shape}], ${role} has [${x.shape}]`,
      );
      gradients[role] = await read(gradient);
    }
    pulled.dispose();
    return { output, gradients: gradients as Numbers<Role> };
  } finally {
    for (const one of tensors) one.dispose();
  }
}
