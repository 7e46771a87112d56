/**
 * An error that the user can fix: in the input, an option or a file beside the input. `message` is
 * shown as it is.
 */
export class ImportError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ImportError';
  }
}

/** The input is damaged. The rows before the damage are imported. */
export class DamagedInput extends ImportError {}
