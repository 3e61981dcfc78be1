import { InvalidArgumentError } from '@topk-attention/app-kit/node';
import { type TaskName, taskNames } from '../tasks/task.js';

/** A whole number of at least 0. @throws InvalidArgumentError, which the command line reports with the option's name. */
export function seedNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Expected a whole number of at least 0.');
}

/** A task's name. @throws InvalidArgumentError */
export function taskArgument(text: string): TaskName {
  return nameIn(taskNames, text);
}

/** One of some names. @throws InvalidArgumentError */
export function nameIn<Name extends string>(names: readonly Name[], text: string): Name {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`Expected one of ${names.join(', ')}.`);
}
