import { TopKError } from '@topk-attention/core';
import { checkSignal, downloadFailed } from './errors.js';
import type { HubSettings } from './settings.js';

/** Tries of a request, and of a download between two pieces of progress. */
export const TRIES = 5;

/** A connection that is silent for so long is given up. */
const SILENCE_MILLISECONDS = 60_000;

/** Longest wait that a server may ask for. */
const LONGEST_WAIT_SECONDS = 60;

/** A response, and its body piece by piece. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** @throws what fetch throws when the connection breaks or is silent; TopKError ABORTED */
  body(): AsyncGenerator<Uint8Array, void>;
  /** Ends the connection; idempotent. */
  cancel(): void;
}

/** Milliseconds to wait before try number `failures`, from 1. */
export type Backoff = (failures: number) => number;

export const patient: Backoff = (failures) => 300 * 2 ** (failures - 1);

/** Requests to one endpoint. */
export class Connection {
  readonly settings: HubSettings;
  readonly #backoff: Backoff;

  constructor(settings: HubSettings, backoff: Backoff) {
    this.settings = settings;
    this.#backoff = backoff;
  }

  /**
   * A GET. Repeated, later and later, where there is no answer, and on 429 and 5xx. Redirects are followed; fetch
   * does not send the token to another origin.
   *
   * @param path below the endpoint
   * @param what for messages
   * @throws TopKError DOWNLOAD_FAILED, ABORTED, and the errors of `refused`
   */
  async get(path: string, what: string, headers: { readonly [name: string]: string } = {}): Promise<Answer> {
    for (let failures = 1; ; failures++) {
      const answer = await this.#try(path, headers).catch((cause: unknown) => {
        if (cause instanceof TopKError) throw cause;
        return cause;
      });
      if (isAnswer(answer)) {
        const { status } = answer;
        // Range not satisfiable is for the caller.
        if ((status >= 200 && status < 300) || status === 416) return answer;
        answer.cancel();
        if (status !== 429 && status < 500) throw this.#refused(what, answer);
        if (failures === TRIES) throw downloadFailed(what, `HTTP ${status}, ${TRIES} times`);
        await this.pause(failures, secondsToWait(answer.headers.get('retry-after')));
      } else {
        if (failures === TRIES) throw downloadFailed(what, messageOf(answer), answer);
        await this.pause(failures);
      }
    }
  }

  /** Waits before the next try. @throws TopKError ABORTED */
  async pause(failures: number, seconds = 0): Promise<void> {
    const { signal } = this.settings;
    const milliseconds = Math.max(this.#backoff(failures), seconds * 1000);
    await new Promise<void>((resolve) => {
      if (signal?.aborted === true) return resolve();
      const timer = setTimeout(done, milliseconds);
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done);
    });
    checkSignal(signal);
  }

  async #try(path: string, headers: { readonly [name: string]: string }): Promise<Answer> {
    const { endpoint, token, signal } = this.settings;
    checkSignal(signal);
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    signal?.addEventListener('abort', stop);
    let timer = setTimeout(stop, SILENCE_MILLISECONDS);
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    };
    let response: Response;
    try {
      response = await fetch(`${endpoint}/${path}`, {
        // Browsers leave out the second one and ask for what they like.
        headers: {
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          'accept-encoding': 'identity',
          ...headers,
        },
        signal: controller.signal,
      });
    } catch (cause) {
      end();
      checkSignal(signal);
      throw cause;
    }
    return {
      status: response.status,
      headers: response.headers,
      cancel() {
        end();
        stop();
      },
      async *body() {
        const reader = response.body?.getReader();
        try {
          for (;;) {
            clearTimeout(timer);
            timer = setTimeout(stop, SILENCE_MILLISECONDS);
            const next = await reader?.read();
            // However long the caller works on the bytes, the connection is not silent.
            clearTimeout(timer);
            if (next === undefined || next.done) return;
            yield next.value;
          }
        } catch (cause) {
          checkSignal(signal);
          throw cause;
        } finally {
          end();
          // An unread body would keep the connection open.
          stop();
        }
      },
    };
  }

  /** The error for a status that another try does not change. */
  #refused(what: string, { status, headers }: Answer): TopKError {
    const { repo, revision, token } = this.settings;
    const code = headers.get('x-error-code') ?? '';
    const got = `HTTP ${status}${code === '' ? '' : ` (${code})`}`;
    if (code === 'RevisionNotFound') {
      return new TopKError('REVISION_NOT_FOUND', `${repo} has no revision ${revision}`, {
        expected: 'a branch, a tag or a commit of the repository',
        got,
        fix: 'Look at the branches and commits on the page of the repository',
      });
    }
    if (code === 'EntryNotFound') {
      return new TopKError('FILE_NOT_FOUND', `cannot download ${what}`, {
        expected: 'the file',
        got,
        fix: 'Load it again: the repository may just have changed',
      });
    }
    if (code === 'GatedRepo') {
      return new TopKError('ACCESS_DENIED', `${repo} is gated`, {
        expected: 'a token of someone who has accepted its conditions',
        got: token === undefined ? 'no token' : 'a token without access',
        fix: 'Ask for access on the page of the repository, then pass token or set HF_TOKEN',
      });
    }
    // The Hub answers 401 for a repository that does not exist, so as not to tell which private ones do.
    if (code === 'RepoNotFound' || status === 404 || (status === 401 && token === undefined)) {
      return new TopKError('REPO_NOT_FOUND', `no repository ${repo}, or it is private`, {
        expected: 'the name of a model on the Hub',
        got,
        fix: 'Check the name; for a private repository pass token or set HF_TOKEN',
      });
    }
    if (status === 401 || status === 403) {
      return new TopKError('ACCESS_DENIED', `${what} may not be read`, {
        expected: 'a token with access',
        got,
        fix: 'Check the token and what it may read',
      });
    }
    return downloadFailed(what, got);
  }
}

/** All bytes of an answer. @throws TopKError FILE_CORRUPT above `limit` */
export async function wholeBody(answer: Answer, what: string, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const bytes of answer.body()) {
    parts.push(bytes);
    size += bytes.length;
    if (size > limit) {
      throw new TopKError('FILE_CORRUPT', `${what} is too long`, { expected: `up to ${limit} bytes` });
    }
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const bytes of parts) {
    whole.set(bytes, at);
    at += bytes.length;
  }
  return whole;
}

export function messageOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  // fetch says "fetch failed" and hides the reason in the cause.
  return cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause.message;
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && 'status' in value;
}

/** Seconds of a Retry-After header: a number, or a date. */
function secondsToWait(header: string | null): number {
  if (header === null) return 0;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), LONGEST_WAIT_SECONDS) : 0;
}
