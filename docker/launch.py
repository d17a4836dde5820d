"""The file that a flex template's launcher starts."""

from heterrec_pipeline.flex_template import main

if __name__ == "__main__":
    main()
