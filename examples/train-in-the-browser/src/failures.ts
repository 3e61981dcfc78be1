import { TopKError } from '@topk-attention/core';

/** A failure in the words of the page. */
export interface Failure {
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  /** What the reader can do. */
  readonly fix: string;
}

export function failureOf(error: unknown): Failure {
  if (isQuota(error)) {
    return {
      code: 'STORAGE_FULL',
      title: 'This browser has no space left for the checkpoint',
      detail: messageOf(error),
      fix: 'Free some disk space, or choose a smaller model. What was saved before is whole: press Continue to go on from it.',
    };
  }
  if (!(error instanceof TopKError)) {
    return {
      code: 'UNKNOWN',
      title: 'Something went wrong',
      detail: messageOf(error),
      fix: 'Press Continue to go on from the last checkpoint, or begin a new run.',
    };
  }
  const { code } = error;
  const [title, fix] = words(error);
  return { code, title, fix, detail: detailOf(error) };
}

function words(error: TopKError): readonly [title: string, fix: string] {
  switch (error.code) {
    case 'NO_DEVICE':
    case 'MISSING_PEER':
      return [
        'This browser offers no WebGPU here',
        'Use a recent Chrome, Edge, Safari or Firefox on https or localhost, and see that hardware acceleration is on. ' +
          'Or train on the CPU, which takes seconds a step: choose the model "tiny" and a short context first.',
      ];
    case 'DEVICE_LOST':
      return [
        'The GPU was lost',
        'Press Continue: the run goes on from its last checkpoint on a new device.',
      ];
    case 'OUT_OF_MEMORY':
      return [
        'The GPU has not enough memory',
        'Begin a new run with a smaller batch, context or model, or close other pages that use the GPU.',
      ];
    case 'NAN_FOUND':
      return [
        'The loss is no longer a number',
        'Begin a new run with a lower learning rate, such as half of this one.',
      ];
    default:
      return [sentence(whatOf(error)), sentence(error.fix ?? 'begin a new run')];
  }
}

/** The message without what was expected, what was got and what to do, which have fields of their own. */
function whatOf({ message, fix }: TopKError): string {
  const [what = ''] = message.split(/: expected |, got /);
  return fix === undefined ? what : what.replace(`. ${fix}`, '');
}

function detailOf({ message, expected, got }: TopKError): string {
  const parts = [expected && `expected ${expected}`, got && `got ${got}`].filter(Boolean);
  return parts.length === 0 ? message : sentence(parts.join(', '));
}

/** Whether the browser refused to store more, somewhere in the causes. */
function isQuota(error: unknown): boolean {
  for (let one = error; one instanceof Error || one instanceof DOMException; one = one.cause) {
    if (one.name === 'QuotaExceededError') return true;
  }
  return false;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
