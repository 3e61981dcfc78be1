import type { AttentionGradients } from '@topk-attention/core/backend';
import type { Tf, TfTensor } from '../../tf.js';

type Role = keyof AttentionGradients<TfTensor>;

/** How to combine gradients of neighbouring parts: joined along an axis, or added where all parts share them. */
export type Joins = Readonly<Record<Role, number | 'add'>>;

const roles: readonly Role[] = ['q', 'k', 'v', 'bias', 'relativeTable'];

/**
 * Gradients of successive parts along one axis. Parts are added in the order they arrive (same plan, same bits), so at
 * most one is waiting. Owns the tensors it is given.
 */
export class GradientSums {
  readonly #tf: Tf;
  readonly #joins: Joins;
  readonly #parts = new Map<Role, TfTensor[]>();

  constructor(tf: Tf, joins: Joins) {
    this.#tf = tf;
    this.#joins = joins;
  }

  add(part: AttentionGradients<TfTensor>): void {
    for (const role of roles) {
      const tensor = part[role];
      if (tensor === undefined) continue;
      const parts = this.#parts.get(role) ?? [];
      this.#parts.set(role, parts);
      const before = parts[0];
      if (this.#joins[role] !== 'add' || before === undefined) {
        parts.push(tensor);
        continue;
      }
      parts[0] = this.#tf.add(before, tensor);
      before.dispose();
      tensor.dispose();
    }
  }

  finish(): AttentionGradients<TfTensor> {
    const [q, k, v, bias, relativeTable] = roles.map((role) => this.#joined(role));
    if (q === undefined || k === undefined || v === undefined) throw new Error('no parts to join');
    return { q, k, v, ...(bias && { bias }), ...(relativeTable && { relativeTable }) };
  }

  #joined(role: Role): TfTensor | undefined {
    const parts = this.#parts.get(role);
    const axis = this.#joins[role];
    if (parts === undefined || parts.length === 1 || axis === 'add') return parts?.[0];
    const whole = this.#tf.concat(parts, axis);
    for (const part of parts) part.dispose();
    return whole;
  }
}
