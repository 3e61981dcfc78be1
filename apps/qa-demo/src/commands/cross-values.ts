import { InvalidArgumentError, seedNumber } from '@topk-attention/app-kit/node';
import {
  type CrossMechanism,
  type CrossMechanismName,
  crossMechanismNames,
  factsOf,
  refusalOf,
} from '../engine/cross-mechanism.js';

/** `exact,top-k:16,performer:256`, in the order given. @throws InvalidArgumentError. */
export function crossList(text: string): CrossMechanism[] {
  return text.split(',').map((each) => cross(each.trim()));
}

function cross(text: string): CrossMechanism {
  const [given = '', number, ...rest] = text.split(':');
  const name = crossMechanismNames.find((one): one is CrossMechanismName => one === given);
  if (name === undefined || rest.length > 0)
    throw new InvalidArgumentError(`Expected one of ${crossMechanismNames.join(', ')}.`);
  const { counts } = factsOf(name);
  if ((counts === undefined) !== (number === undefined))
    throw new InvalidArgumentError(
      counts === undefined ? `Expected ${name} alone.` : `Expected ${name}:N, N ${counts}.`,
    );
  if (number === undefined) return { name };
  const size = Number(number);
  if (!/^\d+$/.test(number) || !Number.isSafeInteger(size) || size < 1)
    throw new InvalidArgumentError(`Expected ${name}:N with a whole number of at least 1.`);
  return { name, size };
}

/** `1,2,3`, without repetitions. @throws InvalidArgumentError. */
export function seedList(text: string): number[] {
  return [...new Set(text.split(',').map((each) => seedNumber(each.trim())))];
}

/** A mechanism that cannot stand in for softmax, and why. */
export interface RefusedCross {
  readonly name: CrossMechanismName;
  readonly reason: string;
}

/** Those with random features once for each seed; those that do not estimate softmax apart, with their reasons. */
export function crossVariants(
  given: readonly CrossMechanism[],
  seeds: readonly number[],
): { readonly crosses: readonly CrossMechanism[]; readonly refused: readonly RefusedCross[] } {
  const crosses: CrossMechanism[] = [];
  const refused: RefusedCross[] = [];
  for (const one of given) {
    const reason = refusalOf(one);
    if (reason !== undefined) refused.push({ name: one.name, reason });
    else if (factsOf(one.name).isRandom) crosses.push(...seeds.map((each) => ({ ...one, seed: each })));
    else crosses.push(one);
  }
  return { crosses, refused };
}
