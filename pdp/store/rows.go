package store

import "database/sql"

// row is one result, of a query for one or for several.
type row interface{ Scan(dest ...any) error }

// scanRows scans every row, and closes them.
func scanRows(rows *sql.Rows, scan func(from row) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scanList returns what scan makes of every row.
func scanList[T any](rows *sql.Rows, scan func(from row) (T, error)) ([]T, error) {
	var list []T
	err := scanRows(rows, func(from row) error {
		v, err := scan(from)
		list = append(list, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
