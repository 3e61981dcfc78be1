/**
 * @typedef {'PLATFORM' | 'NO_COMPILER' | 'NO_SPACE' | 'NPM_FAILED' | 'DOWNLOAD_FAILED' | 'CHECKSUM' | 'BAD_WHEEL'
 *   | 'COMPILE_FAILED' | 'DOES_NOT_RUN'} FailureCode
 */

/** Why the build stopped, and what to do about it. */
export class BuildFailure extends Error {
  /**
   * @param {FailureCode} code
   * @param {string} message
   * @param {string} fix
   */
  constructor(code, message, fix) {
    super(message);
    this.name = 'BuildFailure';
    this.code = code;
    this.fix = fix;
  }
}
