import {
  aBoolean,
  aFunction,
  aString,
  aValue,
  describeValue,
  type OptionKinds,
  TopKError,
} from '@topk-attention/core';
import { aSignal } from '@topk-attention/nn';
import type { Progress } from '../progress.js';

/** Where a repository of the Hugging Face Hub comes from and where it is kept. */
export interface HubOptions {
  /** A branch, a tag or a commit. Default 'main'. Cached files of a commit are opened without asking the Hub. */
  readonly revision?: string;
  /**
   * The folder of the cache (Node). Default: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub, which is
   * Python's: both find each other's files. Browsers keep files in the Cache API.
   */
  readonly cacheDir?: string;
  /** No requests: what is not cached is the error NOT_CACHED. Default: whether HF_HUB_OFFLINE says so. */
  readonly localFilesOnly?: boolean;
  /** For gated and private repositories. Default: HF_TOKEN, and none in browsers. It is sent to the endpoint only. */
  readonly token?: string;
  /** The Hub or a mirror. Default: HF_ENDPOINT, else https://huggingface.co. */
  readonly endpoint?: string | URL;
  readonly signal?: AbortSignal;
  /** Called with stage 'download', the bytes of a file so far and its name. */
  readonly onProgress?: (progress: Progress) => void;
}

export const hubKinds: OptionKinds<HubOptions> = {
  revision: aString,
  cacheDir: aString,
  localFilesOnly: aBoolean,
  token: aString,
  endpoint: aValue('a URL', (value) => typeof value === 'string' || value instanceof URL),
  signal: aSignal,
  onProgress: aFunction(),
};

/** Options with the environment's values in place of those not given. */
export interface HubSettings {
  readonly repo: string;
  readonly revision: string;
  readonly cacheDir: string | undefined;
  readonly offline: boolean;
  readonly token: string | undefined;
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** @throws TopKError INVALID_OPTION */
export function hubSettings(where: string, repo: string, options: HubOptions): HubSettings {
  if (typeof repo !== 'string' || !isRepoName(repo)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad repository`, {
      expected: "'organisation/name' of a model on the Hub",
      got: describeValue(repo),
      fix: "A folder beginning with './' or '/', or a URL, is a source of its own: pass it where a source is asked for",
    });
  }
  const { revision = 'main', cacheDir, localFilesOnly, token, endpoint, signal, onProgress } = options;
  if (!isRevision(revision)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad revision`, {
      expected: 'a branch, a tag or a commit',
      got: describeValue(revision),
    });
  }
  const variables = environment();
  return {
    repo,
    revision,
    cacheDir,
    offline: localFilesOnly ?? isTrue(variables.HF_HUB_OFFLINE ?? variables.TRANSFORMERS_OFFLINE),
    token: tokenOf(where, token ?? variables.HF_TOKEN),
    endpoint: endpointOf(where, endpoint ?? (variables.HF_ENDPOINT || 'https://huggingface.co')),
    signal,
    onProgress,
  };
}

/** Whether the text has the form of a repository's name, with or without an organisation. */
export function isRepoName(text: string): boolean {
  if (text.length > 96 || /--|\.\.|\.git$/.test(text)) return false;
  return /^(?:\w|\w[\w.-]*\w)(?:\/(?:\w|\w[\w.-]*\w))?$/.test(text);
}

/** The environment's variables; none in browsers. */
export function environment(): { readonly [name: string]: string | undefined } {
  return typeof process === 'object' && typeof process.env === 'object' ? process.env : {};
}

/** Git allows more in names; none of it is seen on the Hub, and these become paths. */
function isRevision(text: string): boolean {
  return text.split('/').every((part) => /^[\w.+@-]+$/.test(part) && !/^\.|\.\./.test(part));
}

function endpointOf(where: string, endpoint: string | URL): string {
  const url = URL.canParse(String(endpoint)) ? new URL(String(endpoint)) : undefined;
  if (
    url &&
    /^https?:$/.test(url.protocol) &&
    `${url.username}${url.password}${url.search}${url.hash}` === ''
  ) {
    return url.href.replace(/\/+$/, '');
  }
  throw new TopKError('INVALID_OPTION', `${where}: bad endpoint`, {
    expected: 'an http(s) URL without user, password and query',
    fix: "Pass a URL such as 'https://huggingface.co'; a token is the option of that name",
  });
}

/** Checked here, because fetch shows a token that it does not accept in its error. */
function tokenOf(where: string, token: string | undefined): string | undefined {
  const text = token?.trim();
  if (text === undefined || text === '') return undefined;
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new TopKError('INVALID_OPTION', `${where}: bad token`, {
    expected: 'letters, digits and signs of ASCII without spaces',
    got: `${text.length} characters with others among them`,
    fix: 'Pass the token as the Hub shows it, or set HF_TOKEN to it',
  });
}

function isTrue(variable: string | undefined): boolean {
  return variable !== undefined && /^(1|on|yes|true)$/i.test(variable);
}
