import { InvalidArgumentError } from '@topk-attention/app-kit/node';
import { type TaskName, taskNames } from '../tasks/task.js';

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

/** A parser of lists apart by commas, of what another parser takes. @throws InvalidArgumentError, for doubles too */
export function listOf<Value>(parse: (text: string) => Value): (text: string) => readonly Value[] {
  return (text) => {
    const values = text.split(',').map((part) => parse(part.trim()));
    if (new Set(values).size < values.length) throw new InvalidArgumentError('Expected each value once.');
    return values;
  };
}

/** `2/8`: the second of eight parts. @throws InvalidArgumentError */
export function shardOf(text: string): { readonly index: number; readonly of: number } {
  const [, index, of] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).map(Number);
  if (index !== undefined && of !== undefined && index >= 1 && index <= of) return { index, of };
  throw new InvalidArgumentError('Expected i/n, such as 2/8 for the second of eight parts.');
}
